"""Random families of processes: the counts of anon_vmas are those of areas and children."""

from collections import Counter

import hypothesis.strategies as st
from families import Family
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

pages = st.integers(0, 3)


class FamilyMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.family = Family()
        self.family.map(0, 0, 4)

    def pick(self, choice):
        pids = list(self.family.alive)
        return pids[choice % len(pids)]

    @precondition(lambda self: len(self.family.alive) < 8)
    @rule(choice=st.integers(0, 7))
    def fork(self, choice):
        self.family.fork(self.pick(choice))

    @precondition(lambda self: len(self.family.alive) > 1)
    @rule(choice=st.integers(0, 7))
    def exit(self, choice):
        self.family.exit(self.pick(choice))

    @rule(choice=st.integers(0, 7), page=pages)
    def write(self, choice, page):
        self.family.write(self.pick(choice), page)

    @rule(choice=st.integers(0, 7), page=pages, is_writable=st.booleans())
    def protect(self, choice, page, is_writable):
        self.family.protect(self.pick(choice), page, is_writable=is_writable)

    @rule(choice=st.integers(0, 7), page=pages)
    def unmap(self, choice, page):
        self.family.unmap(self.pick(choice), page)

    @rule(choice=st.integers(0, 7), page=pages)
    def map(self, choice, page):
        self.family.map(self.pick(choice), page, 1)

    @invariant()
    def no_page_is_lost(self):
        assert [] == self.family.lost_pages()

    @invariant()
    def counts_are_true(self):
        areas = self.family.areas()
        linked = {link.anon_vma for vma in areas for link in vma.anon_vma_chain}
        active = Counter(vma.anon_vma for vma in areas)
        children = Counter(anon_vma.parent for anon_vma in linked)
        referring = Counter(anon_vma.root for anon_vma in linked if anon_vma.root is not anon_vma)
        for anon_vma in linked:
            assert anon_vma.is_live
            assert anon_vma.root.is_live
            assert active[anon_vma] == anon_vma.num_active_vmas
            assert children[anon_vma] == anon_vma.num_children
            assert 1 + referring[anon_vma] == anon_vma.refcount

    @invariant()
    def links_lead_both_ways(self):
        for vma in self.family.areas():
            assert (vma.anon_vma is None) == (not vma.anon_vma_chain)
            for link in vma.anon_vma_chain:
                assert link.vma is vma
                assert link in link.anon_vma.rb_root

    def teardown(self):
        while self.family.alive:
            self.family.exit(next(iter(self.family.alive)))
        objects = self.family.machine.anon_vma_cache.objects.values()

        assert not any(anon_vma.is_live for anon_vma in objects)


TestAnonVmaTrees = FamilyMachine.TestCase
TestAnonVmaTrees.settings = settings(max_examples=60, stateful_step_count=30)
