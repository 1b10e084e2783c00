"""From the rows of a field table to the value a mapping sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from drupal.php import unserialize
from provisioning.model import FieldInfo, FieldValue

FIELD_PREFIX = "field_"


def field_names(names: Iterable[str]) -> tuple[str, ...]:
    """The fields among the names of a mapping, sorted: `field_link.uri` asks for field_link."""
    roots = {name.partition(".")[0] for name in names}
    return tuple(sorted(root for root in roots if root.startswith(FIELD_PREFIX)))


@dataclass(frozen=True, slots=True)
class FieldShape:
    """What a field holds. columns: its columns without the field's name (value; uri, title, options).

    multiple: None where the site's configuration does not say, then guessed; see `drupal.database_schema`.
    type: Drupal's field type, "" where it is not known. scale: decimals of a decimal field.
    """

    name: str
    columns: tuple[str, ...]
    multiple: bool | None = None
    type: str = ""
    scale: int | None = None
    guessed: bool = False

    def value(self, items: Sequence[Sequence[Any]]) -> FieldValue:
        """items: the columns of each row, by delta. A field without rows is None, or [] where it holds several."""
        if self.multiple:
            return [self._item(item) for item in items]
        return self._item(items[0]) if items else None

    def info(self) -> FieldInfo:
        parts = self.columns if len(self.columns) > 1 else ()
        return FieldInfo(self.name, multiple=bool(self.multiple), columns=parts)

    def _item(self, item: Sequence[Any]) -> FieldValue:
        if len(self.columns) == 1:
            return self.plain(item[0])
        return {column: self.plain(value) for column, value in zip(self.columns, item, strict=True)}

    def plain(self, value: Any) -> Any:
        """The value as JSON:API gives it: decimals as text, booleans as such, serialised columns as data."""
        if value.__class__ is str and self.type != "decimal":
            return value
        if isinstance(value, bytes):
            return _data(value)
        if self.type == "boolean" and value is not None:
            return bool(value)
        if isinstance(value, Decimal) or (self.type == "decimal" and value is not None):
            return self._decimal(str(value))
        return value

    def _decimal(self, text: str) -> str:
        try:
            return text if self.scale is None else f"{Decimal(text):.{self.scale}f}"
        except ArithmeticError:  # SQLite keeps anything in any column
            return text


def configured(shape: FieldShape, storage: Mapping[str, Any]) -> FieldShape:
    """A shape with what `field.storage.user.field_x` says of it. cardinality: -1 is unlimited."""
    settings = storage.get("settings")
    scale = settings.get("scale") if isinstance(settings, dict) else None
    cardinality = storage.get("cardinality")
    return FieldShape(
        shape.name,
        shape.columns,
        multiple=cardinality != 1 if isinstance(cardinality, int) else None,
        type=str(storage.get("type", "")),
        scale=scale if isinstance(scale, int) else None,
    )


def _data(value: bytes) -> Any:
    """A blob: serialised by PHP, or text."""
    try:
        return unserialize(value)
    except ValueError:
        return value.decode("utf-8", "replace")
