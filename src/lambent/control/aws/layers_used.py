"""The layers that functions stand on, from their ARNs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lambent.control.aws.books import Books
from lambent.control.aws.state import Kind, LayerBook, LayerUse
from lambent.wire.aws.faults import bad_parameter
from lambent.wire.aws.names import Place

LAYERS_MAX: Final = 5


class LayersUsed:
    """Looks layers up."""

    def __init__(self, books: Books) -> None:
        self._books: Final = books

    async def resolve(self, project: str, place: Place, arns: Sequence[str]) -> tuple[LayerUse, ...]:
        """The layers of these ARNs, in their order. Raises `Fault`."""
        if len(arns) > LAYERS_MAX:
            raise bad_parameter(f"Cannot reference more than {LAYERS_MAX} layers.")
        found: dict[str, LayerUse] = {}
        for arn in arns:
            above, _, number = arn.rpartition(":")
            name = above.rpartition(":")[2]
            region = arn.split(":")[3]
            if region != place.region:
                raise bad_parameter(
                    "Layers are not in the same region as the function. "
                    f"Layers are expected to be in region {place.region}."
                )
            book = await self._books.find(LayerBook, project, Kind.LAYER, name, number)
            if book is None or book.code is None:
                raise bad_parameter(f"Layer version {arn} does not exist.")
            if above in found:
                raise bad_parameter(
                    "Two different versions of the same layer are not allowed to be referenced in the same "
                    f"function. {found[above].arn} and {arn} are versions of the same layer."
                )
            code = book.code
            found[above] = LayerUse(arn=arn, code_size=code.size_bytes, digest=code.digest)
        return tuple(found.values())
