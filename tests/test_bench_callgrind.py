"""The parser of callgrind's dumps, on one written by hand whose sums are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.callgrind import INTERPRETER, DumpError, function_name, parse

TEXT = (Path(__file__).parent / "data" / "callgrind.out").read_text(encoding="utf-8")


def test_self_costs_leave_out_what_is_called_and_sum_to_the_total() -> None:
    dump = parse(TEXT)
    assert dump.total == 1030
    assert dict(dump.functions) == {
        "at::native::fill_kernel": 125,
        "at::native::fill_kernel::{lambda#1}::operator()": 105,
        "malloc": 50,
        "libc.so.6 (no name)": 400,
        INTERPRETER: 350,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a dump"),
        (TEXT.replace("events: Ir", "events: Dr"), "not a dump"),
        (TEXT.replace("\n0 105", ""), "sum up to 925, not to 1030"),
        (TEXT.partition("totals:")[0], "a cut dump"),
    ],
    ids=["empty", "other events", "a line lost", "cut"],
)
def test_what_is_no_whole_dump_is_refused(text: str, said: str) -> None:
    with pytest.raises(DumpError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("std::vector<long, std::allocator<long> >::~vector()", "std::vector::~vector"),
        (
            "torch::Library& torch::Library::impl<char const*>(char const*) &",
            "torch::Library::impl",
        ),
        ("c10::ArrayRef<long>::size() const", "c10::ArrayRef::size"),
        ("f(int) [clone .isra.0] [clone .cold]", "f"),
        ("operator new(unsigned long)", "operator new"),
        ("operator delete[](void*)", "operator delete[]"),
        ("c10::SmallVectorImpl<long>::operator=(c10::SmallVectorImpl<long>&&)", None),
        ("std::ostream& std::operator<< <char>(std::ostream&, char)", "std::operator<<"),
        ("bool c10::operator==(int, int)", "c10::operator=="),
        (
            "c10::function_ref<void (long)>::callback_fn(long, long)",
            "c10::function_ref::callback_fn",
        ),
        ("__memset_avx2_unaligned_erms", "__memset_avx2_unaligned_erms"),
    ],
)
def test_names_are_short(name: str, short: str | None) -> None:
    expected = short or "c10::SmallVectorImpl::operator="
    assert function_name("/lib/libtorch_cpu.so", name) == expected


@pytest.mark.parametrize(
    "obj",
    [
        "/usr/bin/python3.11",
        "/usr/lib/libpython3.11.so.1.0",
        "/usr/lib/python3.11/lib-dynload/_struct.cpython-311-x86_64-linux-gnu.so",
    ],
)
def test_python_itself_is_one_function(obj: str) -> None:
    assert function_name(obj, "dictresize") == INTERPRETER


def test_python_packages_are_not_the_interpreter() -> None:
    obj = "/lib/python3.11/site-packages/torch/_C.cpython-311-x86_64-linux-gnu.so"
    assert function_name(obj, "torch::fold(int)") == "torch::fold"
