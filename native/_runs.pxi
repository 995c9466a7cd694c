# -- runs: identities on the disk, sorted, and what of them is kept in memory -----------------------------------------------
#
# A file: items (a hash and its fingerprint, in order of the hashes) in pages of 128; the first 8 bytes of each page; a checksum of each page;
# a Bloom filter in blocks of 64 bytes, 12 bits an item (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007);
# a footer. Files stay on the machine that wrote them: their numbers are in its own byte order.

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <string.h>
    #include <sys/stat.h>
    #include <unistd.h>

    static word _load_big(const char *at) {
        word found = 0;
        for (int i = 0; i < 8; i++) found = found << 8 | (unsigned char) at[i];
        return found;
    }

    static const word *_block(const word *filter, word blocks, const char *hash) {
        return filter + 8 * (size_t) ((unsigned __int128) _load_big(hash) * blocks >> 64);
    }

    /* Six bits of a block, of 9 bits of the hash each. */
    static void _note(word *filter, word blocks, const char *hash) {
        word *block = (word *) _block(filter, blocks, hash), bits = _load(hash + 8);
        for (int i = 0; i < 6; i++, bits >>= 9) block[bits >> 6 & 7] |= 1ULL << (bits & 63);
    }

    static int _noted(const word *filter, word blocks, const char *hash) {
        const word *block = _block(filter, blocks, hash);
        word bits = _load(hash + 8);
        for (int i = 0; i < 6; i++, bits >>= 9) if (!(block[bits >> 6 & 7] >> (bits & 63) & 1)) return 0;
        return 1;
    }

    static void _fetch(const void *at) { __builtin_prefetch(at); }

    /* All bytes, or -1 with errno; a file that ends too soon is EIO. */
    static int _write_all(int file, const char *from, size_t size) {
        while (size) {
            ssize_t done = write(file, from, size);
            if (done < 0 && errno == EINTR) continue;
            if (done <= 0) return -1;
            from += done; size -= done;
        }
        return 0;
    }

    static int _read_all(int file, char *to, size_t size, off_t at) {
        while (size) {
            ssize_t done = pread(file, to, size, at);
            if (done < 0 && errno == EINTR) continue;
            if (done == 0) errno = EIO;
            if (done <= 0) return -1;
            to += done; size -= done; at += done;
        }
        return 0;
    }

    typedef struct { word first; const char *item; } Placed;

    static int _by_hash(const void *one, const void *other) {
        const Placed *a = one, *b = other;
        return a->first != b->first ? (a->first < b->first ? -1 : 1) : memcmp(a->item, b->item, 16);
    }

    /* Items of 24 bytes in order of their hashes. These spread evenly, so their first bits say nearly where each belongs. NULL: no memory. */
    static Placed *_sorted(const char *items, size_t count) {
        int bits = 1;
        while (bits < 24 && (count >> bits) > 2) bits++;
        size_t places = (size_t) 1 << bits, i, from = 0;
        Placed *sorted = malloc((count + 1) * sizeof(Placed));
        unsigned int *ends = calloc(places + 1, sizeof(unsigned int));
        if (!sorted || !ends) { free(sorted); free(ends); return NULL; }
        for (i = 0; i < count; i++) ends[(_load_big(items + i * 24) >> (64 - bits)) + 1]++;
        for (i = 0; i < places; i++) ends[i + 1] += ends[i];
        for (i = 0; i < count; i++) {
            word first = _load_big(items + i * 24);
            Placed *place = &sorted[ends[first >> (64 - bits)]++];
            place->first = first; place->item = items + i * 24;
        }
        for (i = 0; i < places; from = ends[i++])
            if (ends[i] - from > 1) qsort(sorted + from, ends[i] - from, sizeof(Placed), _by_hash);
        free(ends);
        return sorted;
    }

    static int _is_set(const int *flag) { return *(const volatile int *) flag; }

    static int _open_run(const char *path, int new) { return open(path, (new ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY) | O_CLOEXEC, 0644); }

    static long long _size_of(int file) { struct stat found; return fstat(file, &found) < 0 ? -1 : (long long) found.st_size; }
    """
    ctypedef unsigned long long word
    uint64_t _load_big(const char* at) noexcept nogil
    const word* _block(const word* filter, word blocks, const char* hash) noexcept nogil
    void _note(word* filter, word blocks, const char* hash) noexcept nogil
    bint _noted(const word* filter, word blocks, const char* hash) noexcept nogil
    ctypedef struct Placed:
        const char* item
    Placed* _sorted(const char* items, size_t count) noexcept nogil
    void _fetch(const void* at) noexcept nogil
    bint _is_set(const int* flag) noexcept nogil
    int _write_all(int file, const char* data, size_t size) noexcept nogil
    int _read_all(int file, char* to, size_t size, int64_t at) noexcept nogil
    int _open_run(const char* path, bint new) noexcept nogil
    int64_t _size_of(int file) noexcept nogil
    int fsync(int file) noexcept nogil
    int close(int file) noexcept nogil
    char* strerror(int number) nogil
    int errno, EIO

cdef enum:
    PER_PAGE = 128  # items
    PAGE = 3072  # bytes
    AT_ONCE = 64  # pages that are written or read at once
    BITS = 12  # of an item in the filter
    AHEAD = 8  # items whose memory is asked for before it is needed

cdef uint64_t MAGIC = 0x31314E5552444952  # and its schema: another one must have another number


cdef struct Footer:
    uint64_t magic, count, blocks
    uint64_t checksum  # of what lies between the pages and the footer, and of the numbers here


cdef inline Py_ssize_t _pages_of(uint64_t items) noexcept nogil:
    return <Py_ssize_t> ((items + PER_PAGE - 1) // PER_PAGE)


cdef struct Pages:
    int file
    Py_ssize_t count  # of items
    word* sums  # of each page


cdef int _read_page(Pages* pages, Py_ssize_t page, char* to) noexcept nogil:
    """Read a page: how many items it has, -1 with errno, or -2 when it is not as it was written."""
    cdef Py_ssize_t items = min(PER_PAGE, pages.count - page * PER_PAGE)
    if _read_all(pages.file, to, items * ITEM, page * PAGE):
        return -1
    return <int> items if _spread(to, items * ITEM, page) == pages.sums[page] else -2


cdef class Run:
    """Identities in a file that never changes. In memory: 12 bits of each, and 16 bytes for 128 of them.

    Every method may raise OSError: the file is not to be had, or it is not as it was written.
    """

    cdef readonly str path
    cdef readonly bint damaged  # something was not as it had been written
    cdef Pages _pages
    cdef word* _firsts  # the first 8 bytes of each page, as a number
    cdef word* _filter
    cdef word _blocks
    cdef char* _buffer  # pages that are not in the file yet
    cdef Py_ssize_t _held  # items in it

    def __cinit__(self):
        self._pages.file, self._pages.count, self._pages.sums = -1, 0, NULL
        self._firsts, self._filter, self._buffer = NULL, NULL, NULL

    def __dealloc__(self):
        if self._pages.file >= 0:
            close(self._pages.file)
        free(self._firsts)
        free(self._pages.sums)
        free(self._filter)
        free(self._buffer)

    def __init__(self, str path):
        """Open a file that `write` or `merge` has made."""
        cdef Footer footer
        cdef int64_t size, at
        self._open(path, False)
        size = _size_of(self._pages.file)
        if size < <int64_t> sizeof(Footer) or _read_all(self._pages.file, <char*> &footer, sizeof(Footer), size - sizeof(Footer)):
            self._broken("it ends too soon")
        at = size - sizeof(Footer) - (footer.blocks * 64 + _pages_of(footer.count) * 16)
        if footer.magic != MAGIC or footer.count > <uint64_t> size or footer.blocks > <uint64_t> size or at != <int64_t> footer.count * ITEM:
            self._broken("its footer is not one, or not that of its items")
        self._reserve(footer.count, footer.blocks)
        self._pages.count = footer.count
        if (
            _read_all(self._pages.file, <char*> self._firsts, _pages_of(self._pages.count) * 8, at)
            or _read_all(self._pages.file, <char*> self._pages.sums, _pages_of(self._pages.count) * 8, at + _pages_of(self._pages.count) * 8)
            or _read_all(self._pages.file, <char*> self._filter, self._blocks * 64, at + _pages_of(self._pages.count) * 16)
        ):
            self._failed(-1)
        if self._checksum() != footer.checksum:
            self._broken("its index is not as it was written")

    cdef int _open(self, str path, bint new) except -1:
        self.path = path
        self._pages.file = _open_run(path.encode(), new)
        if self._pages.file < 0:
            self._failed(-1)
        return 0

    cdef object _failed(self, int how):
        """how: -1, see errno; -2: something is not as it was written."""
        cdef int number = errno
        if how == -2:
            self._broken("a page is not as it was written")
        raise OSError(number, strerror(number).decode(), self.path)

    cdef object _broken(self, str what):
        self.damaged = True
        raise OSError(EIO, what, self.path)

    def __len__(self):
        return self._pages.count

    def renamed(self, str path):
        """Tell it how its file is called now."""
        self.path = path

    cdef int _reserve(self, uint64_t items, uint64_t blocks) except -1:
        self._blocks = blocks
        self._firsts = <word*> malloc((items // PER_PAGE + 1) * 8)
        self._pages.sums = <word*> malloc((items // PER_PAGE + 1) * 8)
        self._filter = <word*> calloc(blocks, 64)
        if self._firsts == NULL or self._pages.sums == NULL or self._filter == NULL:
            raise MemoryError
        return 0

    cdef uint64_t _checksum(self) noexcept nogil:
        cdef uint64_t sum_ = _spread(<const char*> self._firsts, _pages_of(self._pages.count) * 8, self._pages.count ^ self._blocks)
        return _spread(<const char*> self._filter, self._blocks * 64, _spread(<const char*> self._pages.sums, _pages_of(self._pages.count) * 8, sum_))

    # .. reading ..

    cdef int find(self, const char* hash_, char* print_) noexcept nogil:
        """Whether a hash is here, and its fingerprint; -1, -2: see `_read_page`."""
        cdef char items[PAGE]
        cdef uint64_t first = _load_big(hash_)
        cdef Py_ssize_t low = 0, high = _pages_of(self._pages.count), middle
        cdef int got
        if not _noted(self._filter, self._blocks, hash_):
            return 0
        while low < high:  # the last page that does not begin behind it
            middle = (low + high) // 2
            if self._firsts[middle] <= first:
                low = middle + 1
            else:
                high = middle
        while low > 0:
            low -= 1
            got = _read_page(&self._pages, low, items)
            if got < 0:
                return got
            if _find_item(items, got, hash_, print_):
                return 1
            if self._firsts[low] != first:
                break  # else the page before may end with such hashes, too
        return 0

    # .. writing ..

    cdef int _append(self, const char* item) noexcept nogil:
        """Add the next item; -1 with errno."""
        cdef Py_ssize_t page = self._pages.count // PER_PAGE
        memcpy(self._buffer + self._held * ITEM, item, ITEM)
        if self._pages.count % PER_PAGE == 0:
            self._firsts[page] = _load_big(item)
        _note(self._filter, self._blocks, item)
        self._held += 1
        self._pages.count += 1
        if self._pages.count % PER_PAGE == 0:
            self._pages.sums[page] = _spread(self._buffer + (self._held - PER_PAGE) * ITEM, PAGE, page)
        return self._drain() if self._held == PER_PAGE * AT_ONCE else 0

    cdef int _drain(self) noexcept nogil:
        cdef Py_ssize_t size = self._held * ITEM
        self._held = 0
        return _write_all(self._pages.file, self._buffer, size)

    cdef int _finish(self) noexcept nogil:
        """Write what is left, and have it on the disk; -1 with errno."""
        cdef Footer footer
        cdef Py_ssize_t over = self._pages.count % PER_PAGE
        cdef Py_ssize_t last = self._pages.count // PER_PAGE
        if over:
            self._pages.sums[last] = _spread(self._buffer + (self._held - over) * ITEM, over * ITEM, last)
        footer.magic, footer.count, footer.blocks, footer.checksum = MAGIC, self._pages.count, self._blocks, self._checksum()
        if (
            self._drain()
            or _write_all(self._pages.file, <const char*> self._firsts, _pages_of(self._pages.count) * 8)
            or _write_all(self._pages.file, <const char*> self._pages.sums, _pages_of(self._pages.count) * 8)
            or _write_all(self._pages.file, <const char*> self._filter, self._blocks * 64)
            or _write_all(self._pages.file, <const char*> &footer, sizeof(Footer))
        ):
            return -1
        free(self._buffer)
        self._buffer = NULL
        return fsync(self._pages.file)


cdef bint _find_item(const char* items, int count, const char* hash_, char* print_) noexcept nogil:
    """Look a hash up among sorted items."""
    cdef int low = 0, high = count, middle, order
    while low < high:
        middle = (low + high) // 2
        order = memcmp(items + middle * ITEM, hash_, HASH)
        if order == 0:
            memcpy(print_, items + middle * ITEM + HASH, ITEM - HASH)
            return True
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return False
