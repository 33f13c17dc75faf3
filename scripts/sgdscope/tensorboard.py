"""Writes TensorBoard's event files.

A file is a row of records: the length of the data (8 bytes), a checksum of it, the data, a checksum of these. The data are
an `Event` in the wire format of protocol buffers: 1 wall time (double), 2 step (varint), 3 version of the file (text),
5 summary, which holds 1 a value, which holds 1 its tag (text) and 2 the number (float32).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

VERSION = b"\x1a\x0dbrain.Event:2"  # field 3 of the first event
STEP_BYTES = 10  # of a varint: always as many, so that all events of a tag have one length


def _crc_table() -> np.ndarray:
    """CRC-32C (Castagnoli) of each byte."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(0x82F63B78), np.uint32(0))
    return table


def masked_crc(data: np.ndarray) -> np.ndarray:
    """The checksum of each row of bytes [rows, length], as event files have it: [rows, 4] bytes."""
    table, crc = _crc_table(), np.full(len(data), 0xFFFFFFFF, np.uint32)
    for column in data.T:
        crc = table[(crc ^ column) & 0xFF] ^ (crc >> np.uint32(8))
    crc ^= np.uint32(0xFFFFFFFF)
    masked = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)
    return masked.astype("<u4").view(np.uint8).reshape(-1, 4)


def _varints(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers >= 0 as varints of STEP_BYTES bytes."""
    shifts = 7 * np.arange(STEP_BYTES, dtype=np.uint64)
    low = (numbers.astype(np.uint64)[:, None] >> np.minimum(shifts, 63)) & np.uint64(0x7F)
    low[:, shifts > 63] = 0
    low[:, :-1] |= np.uint64(0x80)
    return low.astype(np.uint8)


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _records(data: np.ndarray) -> bytes:
    """Rows of bytes [rows, length] as records."""
    length = np.frombuffer(data.shape[1].to_bytes(8, "little"), np.uint8)[None]
    head = np.concatenate([length, masked_crc(length)], axis=1).repeat(len(data), axis=0)
    return np.concatenate([head, data, masked_crc(data)], axis=1).tobytes()


def _events(tag: str, steps: np.ndarray, values: np.ndarray, seconds: float) -> np.ndarray:
    """One event for each value, as rows of bytes."""
    name = tag.encode()
    value = b"\x0a" + _varint(len(name)) + name + b"\x15"  # and four bytes
    summary = b"\x0a" + _varint(len(value) + 4) + value
    front = b"\x09" + np.float64(seconds).astype("<f8").tobytes() + b"\x10"
    fixed = [np.frombuffer(part, np.uint8)[None].repeat(len(steps), axis=0)
             for part in (front, b"\x2a" + _varint(len(summary) + 4) + summary)]  # fmt: skip
    numbers = values.astype("<f4").view(np.uint8).reshape(-1, 4)
    return np.concatenate([fixed[0], _varints(steps), fixed[1], numbers], axis=1)


def write_events(path: Path, series: Mapping[str, tuple[np.ndarray, np.ndarray]], seconds: float) -> None:
    """Writes the steps and values of each tag, rounded to float32; all are dated `seconds` after 1970."""
    with path.open("wb") as file:
        first = b"\x09" + np.float64(seconds).astype("<f8").tobytes() + VERSION
        file.write(_records(np.frombuffer(first, np.uint8)[None]))
        for tag, (steps, values) in series.items():
            if len(steps):
                file.write(_records(_events(tag, steps, values, seconds)))
