"""An ONNX model of one node, as bytes: what onnxruntime reads, without the onnx package.

A model is a protocol buffer (onnx.proto): ModelProto {ir_version 1, graph 7, opset_import 8},
GraphProto {node 1, name 2, input 11, output 12}, NodeProto {input 1, output 2, name 3, op_type 4,
attribute 5, domain 7}, AttributeProto {name 1, f 2, i 3, type 20}, ValueInfoProto {name 1, type
2}.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

FLOAT, FLOAT16, BOOL = 1, 10, 9  # TensorProto.DataType
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_IR_VERSION = 10


def one_node(
    op: str,
    domain: str,
    opset: int,
    inputs: Sequence[tuple[str, int] | None],
    output: tuple[str, int],
    attributes: Mapping[str, float],
) -> bytes:
    """The model of `op` with inputs (name, element type; None where one is left out)."""
    node = b"".join(_text(1, given[0] if given else "") for given in inputs)
    node += _text(2, output[0]) + _text(4, op)
    node += b"".join(_bytes(5, _attribute(name, value)) for name, value in attributes.items())
    node += _text(7, domain)
    graph = _bytes(1, node) + _text(2, "one_node")
    graph += b"".join(_bytes(11, _value(*given)) for given in inputs if given)
    graph += _bytes(12, _value(*output))
    opsets = _bytes(8, _text(1, "") + _number(2, opset if not domain else 17))
    if domain:
        opsets += _bytes(8, _text(1, domain) + _number(2, opset))
    return _number(1, _IR_VERSION) + _bytes(7, graph) + opsets


def _value(name: str, kind: int) -> bytes:
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, kind)))  # any shape


def _attribute(name: str, value: float) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, 2)
    return _text(1, name) + _key(2, _FIXED32) + struct.pack("<f", value) + _number(20, 1)


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _number(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
