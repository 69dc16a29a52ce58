"""The judge of factuality, against a local server that speaks as OpenAI's does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mmunlearner import cli
from mmunlearner.config import JudgeConfig
from mmunlearner.core.files import read_jsonl, write_jsonl
from mmunlearner.errors import ConfigError, JudgeError
from mmunlearner.evaluate import judge as judge_module
from mmunlearner.evaluate import read_columns, rescore
from mmunlearner.evaluate.judge import judge, score_in, unscored

KEY = "secret-of-the-test"


@dataclass
class Stub:
    """What the server has heard, and what it says next (statuses and texts; the last is repeated)."""

    address: str = ""
    heard: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    replies: list[tuple[int, str]] = field(default_factory=lambda: [(200, "8")])


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    state = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            state.keys.append(self.headers.get("Authorization"))
            status, text = state.replies.pop(0) if len(state.replies) > 1 else state.replies[0]
            reply = {"choices": [{"message": {"role": "assistant", "content": text}}]} if status == 200 else text
            body = json.dumps(reply).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{state.address}/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(judge_module, "WAIT_SECONDS", 0.0)
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Three open answers in two columns, and one multiple choice that no judge is asked about."""

    def line(id: str, column: str, task: str = "generation") -> dict[str, Any]:
        return {
            "id": id, "entity": id, "column": column, "task": task, "target": "a nurse", "answer": "a nurse",
            "prompt": f"What does {id} do?", "output": f"{id} is a pilot",
        }  # fmt: skip

    write_jsonl(tmp_path / "forget_vqa.jsonl", [line("ann", "forget_vqa"), line("ben", "forget_vqa")])
    write_jsonl(tmp_path / "retain_qa.jsonl", [line("cat", "retain_qa"), line("dan", "retain_qa", "multiple_choice")])
    return tmp_path


def config(stub: Stub, **options: Any) -> JudgeConfig:
    return JudgeConfig(endpoint=stub.address, model="judge-1", **options)


def test_open_answers_are_judged_and_the_mean_is_a_metric(stub: Stub, answers: Path):
    stub.replies = [(200, "2"), (200, "Score: 9/10."), (200, "10")]
    assert judge(answers, config(stub)) == 3
    scores = rescore(answers).columns
    assert (scores["forget_vqa"]["factuality"].value, scores["forget_vqa"]["factuality"].n) == (pytest.approx(0.55), 2)
    assert (scores["retain_qa"]["factuality"].value, scores["retain_qa"]["factuality"].n) == (1.0, 1)


def test_the_judge_is_told_question_truth_and_answer(stub: Stub, answers: Path):
    judge(answers, config(stub))
    assert [request["model"] for request in stub.heard] == ["judge-1"] * 3
    [message] = stub.heard[0]["messages"]
    assert message["role"] == "user"
    assert all(text in message["content"] for text in ("What does ann do?", "a nurse", "ann is a pilot"))


def test_the_key_is_sent_and_written_nowhere(stub: Stub, answers: Path, monkeypatch: pytest.MonkeyPatch):
    judge(answers, config(stub))
    assert set(stub.keys) == {f"Bearer {KEY}"}
    assert not [path for path in answers.rglob("*") if path.is_file() and KEY in path.read_text()]
    monkeypatch.delenv("OPENAI_API_KEY")
    stub.keys.clear()
    judge(answers, JudgeConfig(endpoint=stub.address, model="judge-2"))
    assert set(stub.keys) == {None}


def test_an_interrupted_pass_goes_on_and_nothing_is_asked_twice(stub: Stub, answers: Path):
    stub.replies = [(200, "7"), (400, "no more")]
    with pytest.raises(JudgeError, match=r"HTTP 400 .*no more.*the same command continues"):
        judge(answers, config(stub))
    path = answers / "judge" / "forget_vqa.jsonl"
    assert [line["id"] for line in read_jsonl(path)] == ["ann"]
    with path.open("a") as file:
        file.write('{"id": "be')  # a kill in the middle of a line
    stub.replies = [(200, "8")]
    assert judge(answers, config(stub)) == 2
    assert [(line["id"], line["score"]) for line in read_jsonl(path)] == [("ann", 7), ("ben", 8)]
    heard = len(stub.heard)
    assert judge(answers, config(stub)) == 0
    assert len(stub.heard) == heard


def test_another_judge_s_scores_replace_the_first_one_s(stub: Stub, answers: Path):
    judge(answers, config(stub))
    stub.replies = [(200, "1")]
    assert judge(answers, JudgeConfig(endpoint=stub.address, model="strict")) == 3
    assert {line["factuality"] for line in read_columns(answers)["forget_vqa"]} == {0.1}


def test_what_may_pass_is_tried_again(stub: Stub, answers: Path):
    stub.replies = [(503, "busy"), (429, "slow down"), (200, "5")]
    assert judge(answers, config(stub)) == 3
    assert len(stub.heard) == 5


@pytest.mark.parametrize(
    ("status", "requests", "message"),
    [
        (401, 1, r"HTTP 401, the key in OPENAI_API_KEY is refused or missing \(\"nothing for you\"\)"),
        (503, 2, r"HTTP 503"),
        (302, 1, r"HTTP 302"),
    ],
)
def test_refusals_are_told_in_one_line(stub: Stub, answers: Path, status: int, requests: int, message: str):
    stub.replies = [(status, "nothing for you")]
    with pytest.raises(JudgeError, match=message) as error:
        judge(answers, config(stub, attempts=2))
    assert KEY not in str(error.value)
    assert len(stub.heard) == requests


def test_an_endpoint_that_is_not_there_or_says_something_else_is_told(stub: Stub, answers: Path):
    with pytest.raises(JudgeError, match=r"judge http://127.0.0.1:1/chat/completions: .*refused"):
        judge(answers, JudgeConfig(endpoint="http://127.0.0.1:1", model="m", attempts=1))
    with pytest.raises(ConfigError, match="judge.endpoint: 'file:///etc' is no http"):
        judge(answers, JudgeConfig(endpoint="file:///etc", model="m"))
    with pytest.raises(ConfigError, match="judge.model: name the judge"):
        judge(answers, JudgeConfig(endpoint=stub.address))


def test_a_reply_without_a_number_is_kept_and_counted(stub: Stub, answers: Path):
    stub.replies = [(200, "I cannot say"), (200, "4")]
    judge(answers, config(stub))
    assert unscored(answers) == ["ann"]
    assert rescore(answers).columns["forget_vqa"]["factuality"].n == 1


@pytest.mark.parametrize(
    ("reply", "score"),
    [("8", 8), ("10", 10), ("Score: 7/10", 7), ("**3**", 3), ("It deserves a 9.", 9), ("0", None), ("11", None),
     ("100", None), ("8.5", None), ("none", None)],
)  # fmt: skip
def test_numbers_in_replies(reply: str, score: int | None):
    assert score_in(reply) == score


def test_the_command_judges_where_an_endpoint_is_given(stub: Stub, answers: Path, capsys: pytest.CaptureFixture[str]):
    for arguments in ([], ["--judge.endpoint", stub.address, "--judge.model", "judge-1"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(["evaluate", "--out", str(answers), *arguments])
        assert not ended.value.code
        assert len(stub.heard) == (3 if arguments else 0)
    assert "3 answers judged now, 0 replies without a number" in capsys.readouterr().out
