# -- tiers: how an entry is split over them, and the line items that come of it ---------------------------------------------

cdef enum:
    MOST_BOUNDS = 64


cdef class Form:
    """A line item with gaps, ready to be filled."""

    cdef tuple pieces
    cdef bytes component
    cdef object price
    cdef Amount amount
    cdef bint exact  # `amount` is the unit price; else `price` is needed

    def __init__(self, tuple form):
        known = _pieces.get(form[0])
        self.pieces = _split(form[0]) if known is None else known
        self.price, self.component = form[1], form[2]
        self.exact = _amount_from(form[1], &self.amount)


cdef class Rating:
    """What all plain groups of a SKU, unit and month have in common: one stretch, tiers or none, each window charged by itself."""

    cdef readonly bint priced
    cdef readonly bint usable
    cdef object _form_of, _withdrawn
    cdef dict _forms
    cdef int _number, _generation
    cdef Amount _bounds[MOST_BOUNDS]

    def __init__(self, bounds, bint priced, form_of, withdrawn):
        """form_of: (entry key, tier, provider) -> form, as `WindowWriter.form` makes it. withdrawn: (group key, entry key, tier, provider) -> the
        line item that says that nothing of the entry is in the tier any more. Not `usable`: its bounds are none for this module."""
        self._withdrawn = withdrawn
        self.priced, self._form_of, self._forms, self._number, self._generation = priced, form_of, {}, len(bounds), -1
        self.usable = len(bounds) <= MOST_BOUNDS
        if self.usable:
            for at, bound in enumerate(bounds):
                self.usable = self.usable and _amount_from(bound, &self._bounds[at])

    cdef Form form(self, int generation, int32_t place, bytes key, int tier, int provider, list providers):
        cdef PyObject* found
        if self._generation != generation:  # places have got other numbers
            self._forms.clear()
            self._generation = generation
        name = (<int64_t> place << 24) | (tier << 16) | provider
        found = PyDict_GetItemWithError(self._forms, name)
        if found != NULL:
            return <Form> found
        if len(self._forms) > 20_000:
            self._forms.clear()
        form = self._forms[name] = Form(self._form_of(key, tier, providers[provider]))
        return form


cdef struct Part:
    int tier
    Amount amount


cdef bint _among(const Part* part, const Part* parts, int number) noexcept nogil:
    cdef int i
    for i in range(number):
        if parts[i].tier == part.tier and _equal(&parts[i].amount, &part.amount):
            return True
    return False


cdef int _split_over(const Amount* before, const Amount* quantity, const Amount* bounds, int number, Part* parts) noexcept nogil:
    """chronology.walk, for one entry that is not below zero: its parts, one for each tier that it touches; returns how many."""
    cdef Amount at = before[0], past
    cdef int tier = 0, found = 0
    _sum(before, quantity, &past)
    while tier < number and _is_beyond(before, &bounds[tier]):  # entirely behind this tier
        tier += 1
    if _is_zero(quantity):
        parts[0].tier, parts[0].amount = tier, quantity[0]
        return 1
    while tier < number and _is_beyond(&past, &bounds[tier]):
        if _is_beyond(&bounds[tier], &at):  # else it begins just at the bound
            parts[found].tier = tier
            _difference(&bounds[tier], &at, &parts[found].amount)
            found += 1
        at = bounds[tier]
        tier += 1
    parts[found].tier = tier
    _difference(&past, &at, &parts[found].amount)
    return found + 1


cdef object _rated_item(Form form, bytes prefix, bytes key, bytes quoted, bint priced, Amount* held, bytes said, Text quantity):
    """(x_LineItemId, JSON) of an entry's usage in a tier; prefix: ENTRY and the group's."""
    cdef char text[AMOUNT_TEXT]
    cdef Amount product
    cdef Text cost
    identity = _identity(PyBytes_AS_STRING(prefix) + 1, PyBytes_GET_SIZE(prefix) - 1, key, form.component)
    if not priced:
        cost.at, cost.size = b"0", 1
    elif form.exact and _product(held, &form.amount, &product):
        cost.at, cost.size = text, _amount_text(&product, text)
    else:
        exact = _plain(_as_decimal(held) * form.price, &cost)  # holds the text of the cost
    return identity, _filled(form.pieces, identity, said, quoted, cost, quantity)
