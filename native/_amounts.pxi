# -- amounts: exact decimals of a bounded size, as whole numbers of 128 bits and a scale ---------------------------------
#
# Sums and products are exact, or are refused, and then Decimal does it: pricing/money.py is the definition.

cdef extern from *:
    """
    typedef struct { __int128 digits; int scale; } Amount;  /* digits / 10^scale */

    #define MOST_SCALE 36

    static __int128 _ten_to(int n) { __int128 p = 1; while (n-- > 0) p *= 10; return p; }  /* n <= 37 */

    static __int128 _tens[MOST_SCALE + 2];

    static void _make_tens(void) { for (int i = 0; i <= MOST_SCALE + 1; i++) _tens[i] = _ten_to(i); }

    static int _fits(__int128 digits) { return digits < _tens[MOST_SCALE + 1] && digits > -_tens[MOST_SCALE + 1]; }

    static Amount _zero(void) { Amount a = {0, 0}; return a; }

    static int _scaled(const Amount *a, int scale, __int128 *out) {
        return scale - a->scale <= MOST_SCALE && !__builtin_mul_overflow(a->digits, _tens[scale - a->scale], out) && _fits(*out);
    }

    /* Each returns whether it could; if not, nothing has changed. */

    static int _sum(const Amount *a, const Amount *b, Amount *out) {
        int scale = a->scale > b->scale ? a->scale : b->scale;
        __int128 x, y;
        if (!_scaled(a, scale, &x) || !_scaled(b, scale, &y) || !_fits(x + y)) return 0;
        out->digits = x + y;
        out->scale = scale;
        return 1;
    }

    static int _product(const Amount *a, const Amount *b, Amount *out) {
        __int128 p;
        if (a->scale + b->scale > MOST_SCALE || __builtin_mul_overflow(a->digits, b->digits, &p) || !_fits(p)) return 0;
        out->digits = p;
        out->scale = a->scale + b->scale;
        return 1;
    }

    static int _beyond(const Amount *a, const Amount *bound, int *result) {
        int scale = a->scale > bound->scale ? a->scale : bound->scale;
        __int128 x, y;
        if (!_scaled(a, scale, &x) || !_scaled(bound, scale, &y)) return 0;
        *result = x > y;
        return 1;
    }

    /* Of amounts whose scales and digits are known to fit. */
    static int _comparable(const Amount *a, const Amount *b) {
        __int128 x;
        return a->scale + b->scale <= MOST_SCALE && _scaled(a, a->scale + b->scale, &x) && _scaled(b, a->scale + b->scale, &x);
    }
    static int _is_beyond(const Amount *a, const Amount *b) { int found = 0; _beyond(a, b, &found); return found; }
    static int _equal(const Amount *a, const Amount *b) { return !_is_beyond(a, b) && !_is_beyond(b, a); }
    static void _difference(const Amount *a, const Amount *b, Amount *out) { Amount less = {-b->digits, b->scale}; _sum(a, &less, out); }

    static int _is_negative(const Amount *a) { return a->digits < 0; }
    static int _is_zero(const Amount *a) { return a->digits == 0; }

    /* -?digits(.digits)?, at most 36 digits and 36 of them behind the point */
    static int _amount_of(const char *at, size_t size, Amount *out) {
        int negative = 0, digits = 0, scale = 0, behind = 0;
        unsigned long long part = 0;
        __int128 whole = 0;
        if (size && *at == '-') { negative = 1; at++; size--; }
        for (; size; size--, at++) {
            if (*at == '.') { if (behind) return 0; behind = 1; continue; }
            if (*at < '0' || *at > '9' || ++digits > MOST_SCALE) return 0;
            scale += behind;
            part = part * 10 + (unsigned) (*at - '0');
            if (digits == 18) { whole = part; part = 0; }
        }
        if (!digits) return 0;
        if (digits < 18) whole = part;
        else if (digits > 18) whole = whole * _tens[digits - 18] + part;
        out->digits = negative ? -whole : whole;
        out->scale = scale;
        return 1;
    }

    /* money.plain: no exponent, no zeros at the end, no negative zero; returns the length, at most 80 */
    static int _amount_text(const Amount *a, char *out) {
        char room[48];
        char *end = room + sizeof room, *p = end, *begin = out;
        __int128 rest = a->digits;
        int scale = a->scale, n;
        unsigned __int128 left;
        if (!rest) { *out = '0'; return 1; }
        if (rest < 0) { *out++ = '-'; left = (unsigned __int128) -rest; } else left = (unsigned __int128) rest;
        while (left >> 64) { *--p = '0' + (char) (left % 10); left /= 10; }
        for (unsigned long long low = (unsigned long long) left; low; low /= 10) *--p = '0' + (char) (low % 10);
        while (scale > 0 && end > p && end[-1] == '0') { end--; scale--; }
        n = (int) (end - p);
        if (scale <= 0) { memcpy(out, p, n); return (int) (out + n - begin); }
        if (n > scale) { memcpy(out, p, n - scale); out += n - scale; p += n - scale; n = scale; }
        else *out++ = '0';
        *out++ = '.';
        while (scale-- > n) *out++ = '0';
        memcpy(out, p, n);
        return (int) (out + n - begin);
    }
    """
    ctypedef struct Amount:
        int scale
    void _make_tens() noexcept nogil
    Amount _zero() noexcept nogil
    bint _sum(const Amount* a, const Amount* b, Amount* out) noexcept nogil
    bint _product(const Amount* a, const Amount* b, Amount* out) noexcept nogil
    bint _beyond(const Amount* a, const Amount* bound, int* result) noexcept nogil
    bint _comparable(const Amount* a, const Amount* b) noexcept nogil
    bint _is_beyond(const Amount* a, const Amount* b) noexcept nogil
    bint _equal(const Amount* a, const Amount* b) noexcept nogil
    void _difference(const Amount* a, const Amount* b, Amount* out) noexcept nogil
    bint _is_negative(const Amount* a) noexcept nogil
    bint _is_zero(const Amount* a) noexcept nogil
    bint _amount_of(const char* at, size_t size, Amount* out) noexcept nogil
    int _amount_text(const Amount* a, char* out) noexcept nogil

_make_tens()

cdef enum:
    AMOUNT_TEXT = 80  # bytes of an amount's text, at most


cdef bint _amount_from(value, Amount* out) except -1:
    """An amount from a Decimal, when it is small enough."""
    cdef Py_ssize_t size
    text = str(value)
    cdef const char* at = PyUnicode_AsUTF8AndSize(text, &size)
    if memchr(at, 69, size) != NULL:  # books hold 20 as 2E+1
        text = _format_f(value)
        at = PyUnicode_AsUTF8AndSize(text, &size)
    return _amount_of(at, size, out)


cdef object _as_decimal(const Amount* amount):
    cdef char text[AMOUNT_TEXT]
    cdef int size = _amount_text(amount, text)
    return _decimal(PyUnicode_DecodeASCII(text, size, NULL))


def amounts_of(one, other, bound):
    """(sum, product, whether the sum is beyond a bound) of Decimals as text, None for what is refused; for the tests."""
    cdef Amount a, b, c, found
    cdef char text[AMOUNT_TEXT]
    cdef int beyond
    if not (_amount_from(one, &a) and _amount_from(other, &b) and _amount_from(bound, &c)):
        return None
    result = []
    result.append(text[:_amount_text(&found, text)] if _sum(&a, &b, &found) else None)
    result.append(bool(beyond) if result[0] is not None and _beyond(&found, &c, &beyond) else None)
    result.insert(1, text[:_amount_text(&found, text)] if _product(&a, &b, &found) else None)
    return tuple(result)
