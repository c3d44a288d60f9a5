"""Files of figures. Imports matplotlib only where it is there already."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionlab.files.atomic import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_LENGTH = 100  # characters of a line
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f]")  # XML, hence SVG, forbids or changes them


def write_figure(figure: "Figure", path: Path, **options: Any) -> None:
    """Write a figure atomically in the format of the suffix; `options` are those of `savefig`.

    Its texts mean what they say: class names may have $ or control characters.

    Raises:
        OSError: the file cannot be written.
    """
    file = io.BytesIO()
    with _literal_texts(figure):
        figure.savefig(file, format=path.suffix.removeprefix("."), **options)
    content = file.getvalue()
    if path.suffix == ".svg":
        content = _CONTROL.sub("\N{REPLACEMENT CHARACTER}".encode(), content)
    write_file(path, lambda file: file.write(content))


def lay_out(figure: "Figure") -> None:
    """Place everything in a figure as `write_figure` does, so that extents of texts are known."""
    with _literal_texts(figure):
        figure.draw_without_rendering()


@contextmanager
def _literal_texts(figure: "Figure") -> Iterator[None]:
    """Prepare the texts of a figure for drawing, and ignore signs that the font does not have."""
    _shorten_ticks(figure)
    _show_text_literally(figure)
    with warnings.catch_warnings():
        # the font has no Chinese, for one; a browser finds another for the text of an SVG file
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _show_text_literally(figure: "Figure") -> None:
    """Switch off formulas in all texts but the numbers of axes, which may be powers.

    Long texts are cut.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    numbers = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        if isinstance(axis.get_major_formatter(), LogFormatter | ScalarFormatter)
        for label in [*axis.get_ticklabels(which="both"), axis.get_offset_text()]
    }
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text not in numbers:
            text.set_parse_math(False)
            text.set_text(shorten(text.get_text(), _MAX_LENGTH))


def _shorten_ticks(figure: "Figure") -> None:
    """Cut long labels of ticks, which are made anew from their texts when a figure is drawn."""
    for axis in (each for axes in figure.axes for each in (axes.xaxis, axes.yaxis)):
        texts = [label.get_text() for label in axis.get_ticklabels()]
        if max(map(len, texts), default=0) > _MAX_LENGTH:
            axis.set_ticks(axis.get_ticklocs(), [shorten(text, _MAX_LENGTH) for text in texts])


def shorten(text: str, length: int) -> str:
    """Return text with long lines cut: they would leave no room for what is drawn."""
    return re.sub(rf"(?m)^(.{{{length - 3}}}).{{4,}}$", r"\1...", text)
