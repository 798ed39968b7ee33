"""The second route: ONNX through onnx-tf and TensorFlow's own converter, as a check on the first."""

OPSET = 11
"""The newest at which onnx-tf 1.10 has every operator that PyTorch's exporter writes (Unsqueeze, for one)."""
