from radit_jax.evaluation import table

GOLDEN = """\
100 questions, 10 passages each; percent [95 % interval]

system          LM     retriever  EM                 F1                contains
----------------------------------------------------------------------------------------
LM alone        base   none       0.0 [0.0, 0.0]     12.2 [8.0, 17.5]  1.0 [0.0, 3.0]
REPLUG          base   base       0.0 [0.0, 0.0]     12.2 [8.0, 17.5]  11.0 [5.0, 17.0]
IT + retriever  it     base       24.0 [16.0, 33.0]  12.2 [8.0, 17.5]  24.0 [16.0, 33.0]
RA-IT           ra_it  base       31.0 [22.0, 40.0]  12.2 [8.0, 17.5]  31.0 [22.0, 40.0]
R-ft only       base   tuned      0.0 [0.0, 0.0]     12.2 [8.0, 17.5]  11.0 [5.0, 17.0]
RA-DIT          ra_it  tuned      33.0 [24.0, 43.0]  12.2 [8.0, 17.5]  31.0 [22.0, 40.0]

paired difference            EM                  F1  contains
-------------------------------------------------------------
RA-DIT minus REPLUG          +33.0 [24.0, 43.0]  -   -
RA-IT minus REPLUG           +31.0 [22.0, 40.0]  -   -
IT + retriever minus REPLUG  +24.0 [16.0, 33.0]  -   -
RA-IT minus IT + retriever   +7.0 [2.0, 12.0]    -   -
RA-DIT minus RA-IT           +2.0 [-4.0, 8.0]    -   -
R-ft only minus REPLUG       -6.0 [-9.5, -2.5]   -   -

retriever     base                  tuned
--------------------------------------------------------
recall@1      62.0 [52.0, 71.0]     65.0 [55.0, 74.0]
MRR (0 to 1)  0.680 [0.600, 0.770]  0.720 [0.630, 0.800]"""


def test_table_is_the_golden_one(results):
    assert table.render_table(results) == GOLDEN


def test_table_without_a_tuned_retriever_or_differences(results):
    del results["differences"], results["retriever"]["tuned"]
    results["systems"] = results["systems"][:2]
    lines = table.render_table(results).splitlines()
    firsts = [line.split()[0] for line in lines if line.strip("-")]
    assert firsts[:4] == ["100", "system", "LM", "REPLUG"]
    assert firsts[4:] == ["retriever", "recall@1", "MRR"]
    del results["retriever"]
    assert "recall" not in table.render_table(results)


def test_table_stays_narrow_and_ascii_whatever_comes(results):
    full = {"value": 100.0, "low": 100.0, "high": 100.0}
    for system in results["systems"]:
        system.update(
            name="Ünïcode 検索 and much too long", em=full, f1=full, contains=full
        )
    for difference in results["differences"]:
        difference.update(em=full, f1=full, contains=full)
    text = table.render_table(results)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 100


def test_table_shows_no_negative_zero(results):
    results["differences"][0]["em"] = {"value": -0.01, "low": -0.04, "high": 0.01}
    assert "+0.0 [0.0, 0.0]" in table.render_table(results)
