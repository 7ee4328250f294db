"""A model folder turned into what others run without us: MONAI bundles, ONNX, torch.export."""
