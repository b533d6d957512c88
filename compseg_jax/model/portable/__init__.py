"""Extracted networks for other programs: ONNX, TorchScript, safetensors, bioimage.io.

A U-Net or SegNet becomes a list of plain operations with NumPy weights (``operations``, ``description``), from which
``onnx_file`` and ``torchscript`` are made; both are run beside JAX before they are written (``comparison``).
docs/portable.md says what each format holds, and the limits.
"""
