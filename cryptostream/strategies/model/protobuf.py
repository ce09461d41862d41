"""Which operators an ONNX file holds, read from its bytes before anything runs them.

Of protobuf it takes no more than this: numbered fields, each a varint, four or eight bytes, or a length and so many
bytes (https://protobuf.dev/programming-guides/encoding/). Which field holds what is told by its number in onnx.proto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from collections.abc import Iterator

_GRAPH, _FUNCTIONS = 7, 25
"""In a ModelProto."""
_GRAPH_NODES, _FUNCTION_NODES = 1, 7
"""In a GraphProto, in a FunctionProto."""
_INITIALIZER, _SPARSE_INITIALIZER = 5, 15
"""In a GraphProto."""
_OPERATOR, _ATTRIBUTES, _DOMAIN = 4, 5, 7
"""In a NodeProto."""
_GRAPHS, _TENSORS, _SPARSE_TENSORS = (6, 11), (5, 10), (22, 23)
"""In an AttributeProto: one, or several."""
_SOURCE, _LOCATION = 13, 14
"""In a TensorProto, where its numbers lie in another file."""
_DEEPEST = 16

Field = tuple[int, int | memoryview]


def operators(model: bytes) -> set[tuple[str, str]]:
    """Every operator of a model, those in branches, loops and functions too, as domain and name.

    Raises ValueError for what is no model, and for one whose weights lie in another file.
    """
    found: set[tuple[str, str]] = set()
    for number, value in _fields(memoryview(model)):
        if number == _GRAPH:
            found |= _of_graph(_message(value), _GRAPH_NODES, 0)
        elif number == _FUNCTIONS:
            found |= _of_graph(_message(value), _FUNCTION_NODES, 0)
    if not found:
        raise ValueError("it holds no operators")
    return found


def _of_graph(graph: memoryview, nodes: int, depth: int) -> set[tuple[str, str]]:
    if depth > _DEEPEST:
        raise ValueError(f"its graphs are nested deeper than {_DEEPEST}")
    found: set[tuple[str, str]] = set()
    for number, value in _fields(graph):
        if number == nodes:
            found |= _of_node(_message(value), depth)
        elif nodes == _GRAPH_NODES and number in (_INITIALIZER, _SPARSE_INITIALIZER):
            _check_tensor(_message(value), sparse=number == _SPARSE_INITIALIZER)
    return found


def _of_node(node: memoryview, depth: int) -> set[tuple[str, str]]:
    name = domain = ""
    found: set[tuple[str, str]] = set()
    for number, value in _fields(node):
        if number == _OPERATOR:
            name = str(_message(value), "utf-8")
        elif number == _DOMAIN:
            domain = str(_message(value), "utf-8")
        elif number == _ATTRIBUTES:
            found |= _of_attribute(_message(value), depth)
    return found | {(domain, name)}


def _of_attribute(attribute: memoryview, depth: int) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for number, value in _fields(attribute):
        if number in _GRAPHS:
            found |= _of_graph(_message(value), _GRAPH_NODES, depth + 1)
        elif number in _TENSORS + _SPARSE_TENSORS:
            _check_tensor(_message(value), sparse=number in _SPARSE_TENSORS)
    return found


def _check_tensor(tensor: memoryview, *, sparse: bool) -> None:
    """Raise ValueError unless a tensor holds its own numbers; a sparse one holds two dense ones, values and places."""
    for number, value in _fields(tensor):
        if sparse and number in (1, 2):
            _check_tensor(_message(value), sparse=False)
        elif not sparse and (number == _SOURCE or (number == _LOCATION and value != 0)):
            raise ValueError("its weights lie in another file: save it as one")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message should")  # noqa: TRY004 - the file is wrong, not the caller
    return value


def _fields(message: memoryview) -> Iterator[Field]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        size, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}.get(kind, -1), at)
        if size < 0 or at + size > len(message):
            raise ValueError("it is cut short or damaged")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("it is cut short or damaged")
