import time

import pytest

from ia2.tasks.numbers import first_number, last_number

SPELLINGS = {
    # thousands
    "1029": "1029",
    "1,029": "1029",
    "1 029": "1029",
    "1 029 000": "1029000",
    "1\u00a0029": "1029",
    "1\u2009029": "1029",
    "1\\,029": "1029",
    "1'000": "1000",
    "1’000’000": "1000000",
    "1_000": "1000",
    "1.029,50": "1029.5",
    "1.234.567": "1234567",
    "1 029,50": "1029.5",
    "1 029.5": "1029.5",
    "1'029.50": "1029.5",
    "1,000.": "1000",
    "12,34,567": "1234567",
    "1.029": "1.029",
    "3 1000": "3",
    "1,2345": None,
    "3,5": None,
    "1,234,56": None,
    "1.029.5": None,
    "1.029,505": None,
    "1_0": None,
    # fractions
    "½": "1/2",
    "-½": "-1/2",
    "3½": "7/2",
    "3 ½": "7/2",
    "1¾ cups": "7/4",
    "2 1/2": "5/2",
    "2⅓": "7/3",
    "3⁄4": "3/4",
    "1/2": "1/2",
    "1/2/2020": None,
    "5/0": None,
    # powers
    "10^3": "1000",
    "10^{3}": "1000",
    "10**3": "1000",
    "10³": "1000",
    "10⁻³": "0.001",
    "10^-3": "0.001",
    "5^2": "25",
    "5²": "25",
    "1e3": "1000",
    "1E+03": "1000",
    "2 × 10^3": "2000",
    "2*10^3": "2000",
    "1.5\\times 10^{-3}": "0.0015",
    "-2·10³": "-2000",
    "10^100": None,
    "10^0.5": None,
    "2^x": None,
    "9^9^9": None,
    "1e1000": None,
    # other scripts
    "٣": "3",
    "١٬٠٢٩٫٥": "1029.5",
    "１２": "12",
    "४२": "42",
    # several numbers
    "3-4": None,
    "3–4": None,
    "$3-$4": None,
    "10%-20%": None,
    "1..5": None,
    "1:30": None,
    "3:4": None,
    "2020-01-02": None,
    "192.168.0.1": None,
    # units and percent
    "20%": "20",
    "20 %": "20",
    "½%": "1/2",
    "5kg": "5",
    "5 m²": "5",
    "5cm^2": "5",
    "90^\\circ": "90",
    "90^{\\circ}": "90",
    "-5 °C": "-5",
    "60 km/h": "60",
    "$5/day": "5",
    "24-hour": "24",
    "5!": "5",
    "1st": "1",
    "5...": "5",
    "5…": "5",
    "+5": "5",
    "007": "7",
    "2 million": "2000000",
    "2.5 million people": "2500000",
    "3 hundred": "300",
    "½ million": None,
    "3k": None,
    "$3.5M": None,
    "2bn": None,
    # no number, or one that isn't written out
    "√2": None,
    "\\sqrt{16}": None,
    "3\\sqrt{2}": None,
    "2√3": None,
    "2π": None,
    "2\\pi": None,
    "±5": None,
    "0x1F": None,
    "0.(3)": None,
    "0.\\overline{3}": None,
    "0.333...": None,
    "A4": None,
    "five": None,
    "": None,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_spelling_is_read_whole_or_not_at_all(spelling):
    expected = SPELLINGS[spelling]
    assert first_number(spelling) == expected
    assert first_number(f"It is {spelling}, they say") == expected
    if expected is not None and spelling != "3 1000":
        assert last_number(f"They had 8 and say {spelling}") == expected


def test_a_product_and_a_sum_end_in_their_value():
    assert last_number("2 + 3 * 4 = 14") == "14"
    assert last_number("16-3=13") == "13"
    assert last_number("x^2 = 9") == "9"
    assert last_number("3-4 = -1") == "-1"


@pytest.mark.parametrize("text", ["9" * 5000, "1" + ",000" * 2000, "9" * 5000 + "/7", "1 1/" + "3" * 5000])
def test_a_number_of_thousands_of_digits_is_none(text):
    assert first_number(text) is None


@pytest.mark.parametrize(
    "part", ["1", "1,", "1 ", "1-", "1/", "1^", "1.", "*", "\\frac", "√", "1 000 ", "½", "{", "1:"]
)
def test_no_text_takes_long(part):
    start = time.process_time()
    last_number(part * 10_000)
    assert time.process_time() - start < 5
