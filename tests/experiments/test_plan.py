import pytest
from small_study import study_of_two_tasks as study

from ia2.errors import InputError
from ia2.experiments.plan import check_sets, drawn, planned, units


def test_sets_that_cannot_be_drawn_are_refused_by_what_is_missing(tmp_path):
    check_sets(study(tasks=[{"train": "reviews"}]))
    with pytest.raises(InputError, match="sst2"):
        check_sets(study(), tmp_path)
    with pytest.raises(InputError, match="finsen|financial_phrasebank"):
        check_sets(study(tasks=[{"train": "reviews", "evaluate": ["reviews", "finsen"]}]), tmp_path)
    with pytest.raises(InputError, match="5000 training rows"):
        check_sets(study(tasks=[{"train": "reviews"}], n=[5000]))


def test_a_study_says_which_classes_do_not_teach_and_draws_as_it_is_told(tmp_path):
    file = tmp_path / "rare.csv"
    file.write_text("text,label\n" + "".join(f"text {index},{'ab'[index < 3]}\n" for index in range(40)))
    by_class, by_chance = (study(tasks=[{"data": file}], draw=draw) for draw in ("auto", "random"))
    assert not any("none of the" in note for note in check_sets(by_class))
    assert "rare: none of the 4 training rows has the label 'b'." in check_sets(by_chance)
    unit = units(by_class)[0]
    task = by_class.task("rare", None)
    drawings = [drawn(experiment, unit, task)[0].drawing for experiment in (by_class, by_chance)]
    assert drawings == ["class", "random"]


def adapters(experiment, betas):
    """Those of the study's first unit."""
    return planned(experiment, units(experiment)[0], betas)


def test_units_are_every_model_task_n_and_set():
    found = units(study())
    assert len(found) == 2 * 2 * 2 * 3
    assert len({unit.id for unit in found}) == len(found)
    assert found[0].id == "a-b-reviews-n4-set0"
    assert [unit.model for unit in found] == ["a/b"] * 12 + ["c"] * 12
    assert found[3].evaluate == ("sst2", "finsen")


def test_models_that_would_share_a_folder_are_refused():
    with pytest.raises(InputError, match="models: a/b and a-b would share the folder a-b-reviews-n4-set0"):
        units(study(models=["a/b", "a-b"]))


def test_adapters_are_every_method_at_every_rate_and_weight():
    found = adapters(study(learning_rates=[1e-3, 1e-2]), (0.1,))
    assert [one.id for one in found] == [
        f"lora_{method}_lr{rate}" for method in ("sft", "ia2", "ia2-sft") for rate in ("0.001", "0.01")
    ]
    found = adapters(study(methods=["ia2+sft", "ia2-solved"], learning_rates=[1e-3, 1e-2]), (0.1, 0.5))
    assert [one.id for one in found] == [
        *(f"lora_ia2+sft_lr{rate}_beta{beta}" for beta in ("0.1", "0.5") for rate in ("0.001", "0.01")),
        "lora_ia2-solved",
    ]
    assert {one.method.beta for one in adapters(study(methods=["ia2+sft"], betas=[0.3]), (0.1,))} == {0.3}


def test_sources_of_labels_count_only_where_they_make_a_difference():
    found = adapters(
        study(methods=["sft", "ia2"], learning_rates=[1e-3], label_sources=["ground-truth", "icl-response"]), ()
    )
    assert [one.id for one in found] == ["lora_sft_lr0.001", "lora_sft_icl-response_lr0.001", "lora_ia2_lr0.001"]
    assert [one.label_source for one in found] == ["ground-truth", "icl-response", None]


def test_a_described_method_keeps_its_own_labels():
    def own(name, *labels):
        return {"name": name, "stages": [{"objective": "match-tokens", "labels": one} for one in labels]}

    methods = [own("a", "icl-response"), own("b", "ground-truth"), own("c", "icl-response", "ground-truth"), "sft"]
    found = adapters(study(methods=methods, learning_rates=[1e-3], label_sources=["ground-truth"]), ())
    assert [[stage.labels for stage in one.method.stages] for one in found] == [
        ["icl-response"], ["ground-truth"], ["icl-response", "ground-truth"], ["ground-truth"]
    ]  # fmt: skip
    assert [one.label_source for one in found] == ["icl-response", "ground-truth", None, "ground-truth"]
    several = study(methods=methods, learning_rates=[1e-3], label_sources=["icl-response", "ground-truth"])
    assert [one.method.name for one in adapters(several, ())] == ["a", "b", "c", "sft", "sft"]


def test_sizes_of_adapters_are_part_of_their_names():
    found = adapters(
        study(
            methods=["sft"],
            learning_rates=[1e-3],
            adapters=["lora", {"kind": "lora", "rank": 4, "dora": True}, {"kind": "prefix", "tokens": 3}],
        ),
        (),
    )
    assert [one.id for one in found] == [
        "lora_sft_lr0.001", "lora-rank4-doraTrue_sft_lr0.001", "prefix-tokens3_sft_lr0.001"
    ]  # fmt: skip


def test_a_task_may_have_models_n_and_adapters_of_its_own():
    one = study(
        models=["a"],
        tasks=[
            {"train": "reviews"},
            {"train": "sst2", "models": ["b", "a"], "n": [16, 4], "adapters": ["ia3", "lora"]},
        ],
    )
    every = units(one)
    assert [(unit.model, unit.train, unit.n) for unit in every[::3]] == [
        ("a", "reviews", 4), ("a", "sst2", 4), ("a", "reviews", 8), ("a", "sst2", 16),
        ("b", "sst2", 4), ("b", "sst2", 16),
    ]  # fmt: skip
    assert {one.kind.kind for one in planned(one, every[0], ())} == {"lora"}
    assert {one.kind.kind for one in planned(one, every[3], ())} == {"lora", "ia3"}


def test_seeds_that_are_apart_are_a_unit_each_and_named():
    apart = units(study(models=["a"], tasks=["reviews"], n=[4], sets=2, seeds={"rows": 2, "start": 2, "order": 3}))
    assert [(unit.seed, unit.start, unit.order) for unit in apart] == [
        (row, start, order) for row in (0, 1) for start in (0, 1) for order in (0, 1, 2)
    ]
    assert apart[-1].id == "a-reviews-n4-set1-start1-order2"
    assert {"seed": 1, "start": 1, "order": 2}.items() <= apart[-1].as_record().items()


def test_a_unit_of_one_seed_is_what_it_was():
    (unit,) = units(study(models=["a"], tasks=["reviews"], n=[4], sets=1))
    assert unit.id == "a-reviews-n4-set0"
    assert not {"start", "order"} & unit.as_record().keys()


def test_seeds_decide_rows_starting_values_and_orders_each_alone():
    one = study(models=["a"], tasks=["reviews"], n=[8], sets=2, seeds={"rows": 2, "start": 2, "order": 2})
    task = one.task("reviews", None)
    sets = {(unit.seed, unit.start, unit.order): drawn(one, unit, task)[0] for unit in units(one)}
    assert sets[0, 0, 0].train == sets[0, 1, 1].train
    assert sets[0, 0, 0].train != sets[1, 0, 0].train
    assert sets[0, 0, 0].demonstrations() == sets[0, 1, 0].demonstrations()
    assert sets[0, 0, 0].demonstrations() != sets[0, 0, 1].demonstrations()
    assert sets[0, 0, 0].training_contexts() != sets[0, 0, 1].training_contexts()
    assert [(few.seed_of_start, few.seed_of_order) for few in sets.values()] == [
        (start, order) for _, start, order in sets
    ]
    # as they are, a set's seed decides all of it
    (usual, _) = units(study(models=["a"], tasks=["reviews"], n=[8], sets=2))[0:2]
    few, _ = drawn(study(), usual, task)
    assert (few.train, few.seed_of_start, few.seed_of_order) == (sets[0, 0, 0].train, 0, 0)
    assert not {"start_seed", "order_seed"} & few.as_record().keys()
    assert sets[1, 0, 1].as_record().items() >= {"start_seed": 0, "order_seed": 1}.items()


def prompts_of(few):
    """Everything that a set shows before a query, by what it is."""
    return {
        "shared": (few.demonstrations(),),
        "reshuffled": few.reshuffled_contexts(6),
        "resampled": few.resampled_contexts(6),
        "training rows": few.training_contexts(),
        "dev rows": few.dev_contexts(),
        "unlabelled": few.unlabelled_contexts(),
    }


def test_each_seed_varies_what_it_is_said_to_vary_and_nothing_else():
    one = study(
        models=["a"],
        tasks=[{"train": "reviews", "unlabelled_rows": 3}],
        n=[8],
        sets=2,
        seeds={"rows": 2, "start": 2, "order": 2},
    )
    task = one.task("reviews", None)
    sets = {(unit.seed, unit.start, unit.order): drawn(one, unit, task)[0] for unit in units(one)}
    first, of_other_rows, restarted, reordered = (sets[seeds] for seeds in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)))
    prompts = prompts_of(first)
    # starting values: no text that is read
    assert prompts_of(restarted) == prompts
    # orders: the same rows, each prompt of several in another order
    assert (reordered.train, reordered.dev, reordered.unlabelled) == (first.train, first.dev, first.unlabelled)
    for name, contexts in prompts_of(reordered).items():
        assert contexts != prompts[name]
        # of a dev row's prompt one training row is left out, which follows from the order
        if name != "dev rows":
            assert [{*context} for context in contexts] == [{*context} for context in prompts[name]]
    # rows: all of them are others, those that are drawn anew for each query and texts without labels among them
    assert {*of_other_rows.train} != {*first.train}
    assert of_other_rows.unlabelled != first.unlabelled
    for name, contexts in prompts_of(of_other_rows).items():
        assert [{*context} for context in contexts] != [{*context} for context in prompts[name]]


def test_seeds_that_are_apart_and_the_same_show_what_one_seed_shows():
    apart = study(models=["a"], tasks=["reviews"], n=[8], sets=2, seeds={"rows": 2, "start": 2, "order": 2})
    usual = study(models=["a"], tasks=["reviews"], n=[8], sets=2)
    task = usual.task("reviews", None)
    for unit in units(usual):
        (same,) = (other for other in units(apart) if (other.seed, other.start, other.order) == (unit.seed,) * 3)
        assert prompts_of(drawn(apart, same, task)[0]) == prompts_of(drawn(usual, unit, task)[0])
