"""PyTorch to ONNX to TFLite: lowering, quantization, parity, and the bundle on disk."""
