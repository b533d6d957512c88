"""`compseg export`."""

from __future__ import annotations

from compseg_jax.cli.parsing import HelpPage, parse
from compseg_jax.model.portable.export import ExportOptions, export

PAGE = HelpPage(
    "export",
    text="Write an extracted network for other programs; each file is compared with the model before it is kept.",
    example="compseg export --model runs/mine/model --out tumour.onnx",
    groups={"options": ("model", "out", "format", "network"), "bioimage.io": ("name", "author", "license")},
)


def run(arguments: list[str]) -> None:
    """Writes an extracted network for other programs."""
    print(export(parse(ExportOptions, arguments, PAGE)))
