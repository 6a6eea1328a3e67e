"""What docs/serving.md says to run is run, with a tiny model in the place of the built-in one."""

import json
import re
import shlex
from pathlib import Path

from command_line import ROWS, run, write_csv
from conftest import tiny_network
from hub_stand_in import hub_stand_in
from transformers import AutoModelForCausalLM

from ia2.models.packaged import PACKAGED

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_commands_and_the_program_run(capsys, tmp_path, monkeypatch, built_in):
    monkeypatch.chdir(tmp_path)
    write_csv(Path("rows.csv"))
    write_csv(Path("more.csv"), [(text, "") for text, _ in ROWS[:3]], header="text,note")
    commands = "".join(text for language, text in BLOCK.findall(PAGE) if language == "sh")
    (program,) = [text for language, text in BLOCK.findall(PAGE) if language == "python"]
    with hub_stand_in() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        for command in commands.splitlines():
            *settings, ia2 = [part.strip() for part in command.partition("ia2 ")[::2]]
            for setting in filter(None, settings):
                name, _, value = setting.partition("=")
                assert value == "hf_..."
                monkeypatch.setenv(name, hub.token)
            few = ["--lr", "1e-2", "--epochs", "2", "--no-compare"] if ia2.startswith("adapt ") else []
            status, _, err = run(capsys, *shlex.split(ia2), *few)
            assert status == 0, err
            if "--merged" in ia2 or "--gguf" in ia2:
                # told by the weights that taught it, though the adapter's folder names the hub's
                assert "smollm2-135m" in err
        assert len(Path("answered.csv").read_text().splitlines()) == 4
        assert hub.private == {"me/my-adapter": True}
        assert "adapter_model.safetensors" in hub.repositories["me/my-adapter"]
    assert AutoModelForCausalLM.from_pretrained("merged").num_parameters() == tiny_network("llama").num_parameters()
    assert Path("my-adapter.gguf").read_bytes()[:4] == b"GGUF"
    configuration = json.loads(Path("my-adapter/adapter/adapter_config.json").read_text())
    assert configuration["base_model_name_or_path"] == PACKAGED["smollm2-135m"].hub_id
    # the program as it stands, with the tiny model in the place of the hub's
    written = json.dumps(configuration | {"base_model_name_or_path": str(built_in)})
    Path("my-adapter/adapter/adapter_config.json").write_text(written)
    exec(program, {})
    assert len(capsys.readouterr().out) > 1


def test_what_other_programs_do_is_said_not_to_have_been_run():
    for section in PAGE.split("\n## ")[1:]:
        unrun = [text for language, text in BLOCK.findall(section) if language not in ("sh", "python")]
        assert bool(unrun) == section.startswith("Not run here: ")
