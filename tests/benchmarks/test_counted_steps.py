from benchmarks.counted_steps import counted_steps, described


def test_steps_wait_for_nothing_and_more_adapters_dispatch_no_more(tiny_model, toy_task, tmp_path):
    steps = counted_steps(tiny_model, toy_task, tmp_path)
    for name in ("sft", "ia2"):
        single, several = (steps[f"optimiser step, {name}, {count}"] for count in ("one adapter", "3 adapters"))
        assert (single["waits"], several["waits"]) == (0, 0)
        assert single["operations"] == several["operations"]
        # by far most of it is the network. Each of a layer's three modules takes a product forward and two back, and so
        # do queries and keys together, and the output
        assert 3 * (3 * 3 + 2 * 3) < single["operations"] - single["network"] < 0.5 * single["network"]
        assert steps[f"dev evaluation, {name}, 3 adapters"]["waits"] == 1
    assert steps["decoded token"]["waits"] == 1
    assert steps["decoded token, recorded"]["operations"] == steps["decoded token"]["operations"] + 1
    assert "one adapter: " in described(steps)
