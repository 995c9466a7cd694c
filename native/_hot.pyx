# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, annotation_typing=False, nonecheck=False
"""The hottest loops of a worker, compiled. Each does what a loop in Python beside it does, to the byte, or says that it does not.

    decode_plain_many   schemas/decoders/cloudevents.py: CloudEvents in the plain form, read straight from their bytes
    identify_many       schemas/usage_event.py: identity hashes and fingerprints
    in_place            streams/lanes/decoding.py: whether a whole batch is in time and in its own partition
    append_entries      streams/core/groups.py: usage that lies in one tier as a whole, with its line items
    write_entry         streams/core/items.py: the line item of an entry in one tier
    RecordBatch         streams/filled_batches.py: records in Kafka's format, in place of aiokafka's builder
    Readings            streams/lanes/decoding.py: plain events without an object for each
    Windows, Rating     streams/core/counted.py: usage by window, and the line items of plain groups
    Identities          streams/identities/recent.py: fingerprints by identity hash, in place of a dict
    Run                 streams/identities/in_runs.py: those on the disk, which without this are in RocksDB

Nothing here decides anything that is not decided in Python too: what is unusual is left to the loop in Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError, PyDict_SetItem
from cpython.list cimport PyList_GET_ITEM
from cpython.long cimport PyLong_FromLongLong
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from bisect import insort
from decimal import Decimal
from hashlib import blake2b

import xxhash

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    object PyUnicode_DecodeUTF8(const char* text, Py_ssize_t size, const char* errors)
    object PyUnicode_DecodeASCII(const char* text, Py_ssize_t size, const char* errors)
    int64_t PyLong_AsLongLong(object number) except? -1

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        Py_ssize_t offset

cdef extern from "descrobject.h":
    ctypedef struct PyMemberDescrObject:
        PyMemberDef* d_member

cdef object _hash = xxhash.xxh3_128_digest
cdef object _print = xxhash.xxh3_64_digest
cdef object _decimal = Decimal
cdef object ZERO = Decimal(0)

cdef enum:
    ACCOUNT = 0
    SOURCE
    ID
    SKU
    TIME
    QUANTITY
    UNIT
    PROVIDER
    REGION
    RESOURCE
    DIMENSIONS
    TAGS
    BACKFILL
    FIELDS

cdef enum:
    SLOTS = 16384  # texts kept
    LONGEST = 4096  # bytes of an event's texts that are put together here

# -- fields of a usage event, without asking its type each time ---------------------------------------------------------

cdef Py_ssize_t _offsets[FIELDS]
cdef object _Event = None
cdef object _identify = None



def use(event_type, identify):
    """Tell this module whom it works for. False when events are not laid out as it expects, and nothing here may be used."""
    global _Event, _identify
    names = ("account", "source", "id", "sku", "time", "quantity", "unit", "provider", "region", "resource", "dimensions", "tags", "backfill")
    if event_type.__struct_fields__ != names:
        return False
    for at, name in enumerate(names):
        descriptor = event_type.__dict__.get(name)
        if type(descriptor).__name__ != "member_descriptor":
            return False
        _offsets[at] = (<PyMemberDescrObject*> descriptor).d_member.offset
    sample = event_type(*"abcd", 5, *"fghijklm")
    if [<object> (<PyObject**> ((<char*> <PyObject*> sample) + _offsets[at]))[0] for at in range(FIELDS)] != [*"abcd", 5, *"fghijklm"]:
        return False
    _Event, _identify = event_type, identify
    return True


cdef inline object _of(object event, int field):
    return <object> (<PyObject**> ((<char*> <PyObject*> event) + _offsets[field]))[0]


include "_decode.pxi"
include "_identify.pxi"
include "_line_items.pxi"
include "_record_batches.pxi"
include "_hashes.pxi"
include "_identities.pxi"
include "_runs.pxi"
include "_run_files.pxi"
include "_places.pxi"
include "_amounts.pxi"
include "_readings.pxi"
include "_tiers.pxi"
include "_cells.pxi"
include "_counting.pxi"
include "_watched.pxi"
include "_windows.pxi"
