"""Four small bugs of memory management, each with its fix, to be searched for."""

from functools import partial


def lost_update(world, *, fixed=False):
    """Two CPUs count a page: read, then write."""
    count = world.cell("rss", 0)

    async def counts():
        if fixed:
            await count.add_return(1)
        else:
            seen = await count.read()
            await count.write(seen + 1)

    world.actor("cpu0", counts)
    world.actor("cpu1", counts)

    @world.at_end
    def both_are_counted():
        assert 2 == count.value, f"rss is {count.value}"


def order(world, *, fixed=False):
    """A consumer uses what the producer has published, but not yet filled."""
    published = world.cell("published", 0)
    filled = world.cell("filled", 0)

    async def produces():
        if fixed:
            await filled.write(1)
        await published.write(1)
        if not fixed:
            await filled.write(1)

    async def consumes():
        await published.until(bool)
        assert await filled.read(), "used before it was filled"

    world.actor("producer", produces)
    world.actor("consumer", consumes)


def aba(world, *, fixed=False):
    """A free list whose head is compared: it may have gone and come back meanwhile."""
    head = world.cell("freelist", ("A", 0))
    links = (("A", "B"), ("B", "C"), ("C", None))
    next_of = {page: world.cell(f"next[{page}]", following) for page, following in links}
    used = {page: world.cell(f"used[{page}]", None) for page, _ in links}

    async def pop(name):
        page, tid = await head.read()
        following = await next_of[page].read()
        if await head.cmpxchg(expected=(page, tid), value=(following, tid + fixed)):
            await used[page].write(name)
            return page
        return None

    async def push(page):
        await used[page].write(None)
        is_done = False
        while not is_done:
            first, tid = await head.read()
            await next_of[page].write(first)
            is_done = await head.cmpxchg(expected=(first, tid), value=(page, tid + fixed))

    async def interrupt():
        first = await pop("irq")
        await pop("irq")
        if first is not None:
            await push(first)

    world.actor("task", pop, "task")
    world.actor("irq", interrupt)

    @world.at_end
    def no_page_in_use_is_on_the_list():
        page = head.value[0]
        while page is not None:
            assert used[page].value is None, f"{page} is used by {used[page].value}"
            page = next_of[page].value


def stale_tlb(world, *, fixed=False):
    """A page is freed and used again before another CPU has dropped its translation."""
    pte = world.cell("pte", "P")
    tlb = world.cell("tlb1", None)
    owner = world.cell("owner of P", "mm")

    async def loads():
        await world.step("walk", reads=(pte,), writes=(tlb,))
        tlb.value = pte.value
        await world.step("load", reads=(tlb, owner))
        return owner.value if tlb.value else "fault"

    async def unmaps():
        await pte.write(None)
        for cell in (tlb, owner) if fixed else (owner, tlb):
            await cell.write(None)

    async def allocates():
        await owner.cmpxchg(expected=None, value="other")

    user = world.actor("user", loads)
    world.actor("munmap", unmaps)
    world.actor("alloc", allocates)

    @world.at_end
    def nobody_reads_a_page_of_others():
        assert user.result != "other", "user read the page of other"


TOYS = {"lost update": lost_update, "order": order, "ABA": aba, "stale TLB": stale_tlb}


def fixed(build):
    """Return the same world without the bug."""
    return partial(build, fixed=True)
