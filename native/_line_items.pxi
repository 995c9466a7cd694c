# -- line items of windows -----------------------------------------------------------------------------------------------

cdef object _one_of(first, second):
    """entries.one_provider."""
    return min(first, second) if first and second else first or second


cdef uint64_t _iv[8]
_iv[:] = [
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
]
cdef uint8_t _sigma[12][16]
_sigma[0][:] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
_sigma[1][:] = [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3]
_sigma[2][:] = [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4]
_sigma[3][:] = [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8]
_sigma[4][:] = [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13]
_sigma[5][:] = [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9]
_sigma[6][:] = [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11]
_sigma[7][:] = [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10]
_sigma[8][:] = [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5]
_sigma[9][:] = [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0]
_sigma[10][:] = _sigma[0][:]
_sigma[11][:] = _sigma[1][:]


cdef inline uint64_t _turn(uint64_t x, int n) noexcept nogil:
    return (x >> n) | (x << (64 - n))


cdef inline void _mix(uint64_t* v, int a, int b, int c, int d, uint64_t x, uint64_t y) noexcept nogil:
    v[a] = v[a] + v[b] + x
    v[d] = _turn(v[d] ^ v[a], 32)
    v[c] = v[c] + v[d]
    v[b] = _turn(v[b] ^ v[c], 24)
    v[a] = v[a] + v[b] + y
    v[d] = _turn(v[d] ^ v[a], 16)
    v[c] = v[c] + v[d]
    v[b] = _turn(v[b] ^ v[c], 63)


cdef void _blake2b_128(const char* block, Py_ssize_t size, char* hexed) noexcept nogil:
    """Hexadecimal BLAKE2b (RFC 7693) of at most 128 bytes, padded with zeros to 128; 16 bytes of digest, no key."""
    cdef uint64_t m[16]
    cdef uint64_t v[16]
    cdef uint64_t h
    cdef int i, r
    cdef uint8_t byte
    cdef const char* digits = b"0123456789abcdef"
    memcpy(m, block, 128)
    for i in range(8):
        v[i] = v[i + 8] = _iv[i]
    v[0] ^= 0x01010000 ^ 16
    v[12] ^= <uint64_t> size
    v[14] = ~v[14]
    for r in range(12):
        _mix(v, 0, 4, 8, 12, m[_sigma[r][0]], m[_sigma[r][1]])
        _mix(v, 1, 5, 9, 13, m[_sigma[r][2]], m[_sigma[r][3]])
        _mix(v, 2, 6, 10, 14, m[_sigma[r][4]], m[_sigma[r][5]])
        _mix(v, 3, 7, 11, 15, m[_sigma[r][6]], m[_sigma[r][7]])
        _mix(v, 0, 5, 10, 15, m[_sigma[r][8]], m[_sigma[r][9]])
        _mix(v, 1, 6, 11, 12, m[_sigma[r][10]], m[_sigma[r][11]])
        _mix(v, 2, 7, 8, 13, m[_sigma[r][12]], m[_sigma[r][13]])
        _mix(v, 3, 4, 9, 14, m[_sigma[r][14]], m[_sigma[r][15]])
    for i in range(16):
        h = _iv[i >> 3] ^ v[i >> 3] ^ v[(i >> 3) + 8]
        if i < 8:
            h ^= 0x01010000 ^ 16
        byte = (h >> (8 * (i & 7))) & 255
        hexed[2 * i] = digits[byte >> 4]
        hexed[2 * i + 1] = digits[byte & 15]


cdef object _long_identity(bytes prefix, bytes key, bytes component):
    return blake2b(b"%b\0%b\0%b" % (prefix, key, component), digest_size=16).hexdigest().encode()


cdef object _identity(const char* prefix, Py_ssize_t size, bytes key, bytes component):
    """x_LineItemId: of the group's prefix, the entry key and the component."""
    cdef char block[128]
    cdef char hexed[32]
    cdef Py_ssize_t whole = size + PyBytes_GET_SIZE(key) + PyBytes_GET_SIZE(component) + 2
    cdef char* out
    if whole > 128:
        return _long_identity(PyBytes_FromStringAndSize(prefix, size), key, component)
    out = _add(block, prefix, size)
    out[0] = 0
    out = _add(out + 1, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    out[0] = 0
    out = _add(out + 1, PyBytes_AS_STRING(component), PyBytes_GET_SIZE(component))
    memset(out, 0, 128 - whole)
    _blake2b_128(block, whole, hexed)
    return PyBytes_FromStringAndSize(hexed, 32)


cdef object _format_f(value):
    return format(value, "f")


cdef object _plain(value, Text* out):
    """money.plain: the text of an amount goes to `out`; the object that holds it is returned and must be kept."""
    text = str(value)
    out.at = PyUnicode_AsUTF8AndSize(text, &out.size)
    if memchr(out.at, 69, out.size) != NULL:
        text = _format_f(value)
        out.at = PyUnicode_AsUTF8AndSize(text, &out.size)
    if memchr(out.at, 46, out.size) != NULL:
        while out.at[out.size - 1] == 48:
            out.size -= 1
        if out.at[out.size - 1] == 46:
            out.size -= 1
    if out.size == 2 and out.at[0] == 45 and out.at[1] == 48:
        out.at += 1
        out.size = 1
    return text


cdef dict _pieces = {}  # line item with gaps -> the ten pieces between its nine gaps


cdef tuple _split(bytes text):
    """Pieces of a line item with gaps for: id, revision, account, four costs, two quantities."""
    cdef list pieces = []
    cdef list parts = text.split(b"%")
    cdef bytes piece = parts[0]
    cdef Py_ssize_t at = 1
    while at < len(parts):
        part = <bytes> parts[at]
        if part[:1] in (b"b", b"d"):
            pieces.append(piece)
            piece = part[1:]
        else:  # %% stands for one: nothing between two of them
            at += 1
            piece = piece + b"%" + parts[at]
        at += 1
    pieces.append(piece)
    if len(pieces) != 10:
        raise ValueError(f"a line item has {len(pieces) - 1} gaps, not 9")
    if len(_pieces) > 100_000:
        _pieces.clear()
    found = _pieces[text] = tuple(pieces)
    return found


cdef inline char* _add(char* out, const char* at, Py_ssize_t size) noexcept nogil:
    memcpy(out, at, size)
    return out + size


cdef object _filled(tuple pieces, bytes identity, bytes revision, bytes account, Text cost, Text number):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(identity) + PyBytes_GET_SIZE(revision) + PyBytes_GET_SIZE(account) + 4 * cost.size + 2 * number.size
    cdef Py_ssize_t i
    cdef char* out
    for i in range(10):
        size += PyBytes_GET_SIZE(<object> PyTuple_GET_ITEM(pieces, i))
    item = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(item)
    for i in range(10):
        piece = <object> PyTuple_GET_ITEM(pieces, i)
        out = _add(out, PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
        if i == 0:
            out = _add(out, PyBytes_AS_STRING(identity), PyBytes_GET_SIZE(identity))
        elif i == 1:
            out = _add(out, PyBytes_AS_STRING(revision), PyBytes_GET_SIZE(revision))
        elif i == 2:
            out = _add(out, PyBytes_AS_STRING(account), PyBytes_GET_SIZE(account))
        elif i < 7:
            out = _add(out, cost.at, cost.size)
        elif i < 9:
            out = _add(out, number.at, number.size)
    return item


cdef object _joined(bytes head, bytes key):
    cdef Py_ssize_t h = PyBytes_GET_SIZE(head), k = PyBytes_GET_SIZE(key)
    found = PyBytes_FromStringAndSize(NULL, h + k)
    memcpy(PyBytes_AS_STRING(found), PyBytes_AS_STRING(head), h)
    memcpy(PyBytes_AS_STRING(found) + h, PyBytes_AS_STRING(key), k)
    return found


cdef object _usage(Text number, str provider):
    cdef Py_ssize_t size
    cdef const char* at = PyUnicode_AsUTF8AndSize(provider, &size)
    cdef char* out
    found = PyBytes_FromStringAndSize(NULL, number.size + 1 + size)
    out = _add(PyBytes_AS_STRING(found), number.at, number.size)
    out[0] = 0
    memcpy(out + 1, at, size)
    return found


cdef object _line_item(tuple form, bytes prefix, bytes key, bytes account, bint priced, quantity, bytes revision, Text number):
    """(x_LineItemId, JSON) of an entry in a form; number: the quantity as text."""
    cdef Text cost
    cdef PyObject* known = PyDict_GetItemWithError(_pieces, form[0])
    pieces = <tuple> known if known != NULL else _split(form[0])
    cost.at, cost.size = b"0", 1
    if priced:
        costs = _plain(quantity * form[1], &cost)  # holds the text of the cost
    identity = _identity(PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix), key, <bytes> form[2])
    return identity, _filled(pieces, identity, revision, account, cost, number)


def append_entries(
    list deltas, dict entries, list order, bytes head, bytes prefix, bytes account, sku, unit, bint priced, dict forms, form_of, revision,
    list written, list puts,
):
    """The loop of `Group._append`: form_of(key, provider) makes a form that `forms` does not hold."""
    cdef bytes said = b"%d" % revision
    cdef Text number
    cdef PyObject* old
    cdef PyObject* known
    cdef bytes key
    for delta in deltas:
        key = <bytes> PyTuple_GET_ITEM(delta, 0)
        quantity = <object> PyTuple_GET_ITEM(delta, 1)
        provider = <object> PyTuple_GET_ITEM(delta, 2)
        old = PyDict_GetItemWithError(entries, key)
        if old == NULL:
            if not order or key > <bytes> order[len(order) - 1]:
                order.append(key)
            else:
                insort(order, key)
            usage, same = (quantity, provider), False
        else:
            before = <tuple> old
            if before[1] is not provider and before[1] != provider:
                provider = _one_of(before[1], provider)
            quantity = quantity + before[0]
            usage = (quantity, provider)
            same = usage == before
        entries[key] = usage
        text = _plain(quantity, &number)  # holds the text of the number
        puts.append((_joined(head, key), _usage(number, provider)))
        if same:
            continue
        known = PyDict_GetItemWithError(forms, (key, provider, sku, unit))
        form = <tuple> known if known != NULL else form_of(key, provider)
        written.append(_line_item(form, prefix, key, account, priced, quantity, said, number))


def write_entry(tuple form, bytes prefix, bytes key, bytes account, bint priced, quantity, revision):
    """`WindowWriter.write` from the form on: (x_LineItemId, JSON)."""
    cdef Text number
    text = _plain(quantity, &number)  # holds the text of the number
    return _line_item(form, prefix, key, account, priced, quantity, b"%d" % revision, number)
