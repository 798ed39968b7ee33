"""ONNX graph to TFLite: layouts, operators, and the flatbuffer."""
