"""The page itself, in NiceGUI: everything that it loads comes from this machine."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING

from mmunlearner.data import ImageRef, prompt
from mmunlearner.data.prompts import candidate_answers
from mmunlearner.errors import ConfigError, DataError, MMUnlearnerError
from mmunlearner.run.run_dir import find_run

if TYPE_CHECKING:
    from mmunlearner.data import Example
    from mmunlearner.evaluate import Reply
    from mmunlearner.web.panel import Panel, Subject

HOST = "127.0.0.1"
LARGEST_FILE = 50_000_000
"""Bytes of a dropped picture."""
THUMBNAILS = 60
"""Pictures of a column that are shown to pick from."""
SUGGESTIONS = 6
"""Questions about a picture that are suggested."""
STYLE = """
body { background: #f6f7f9; color: #1c2430; }
.panel { background: white; border: 1px solid #dfe3e8; border-radius: 10px; padding: 1rem; }
.thumb { width: 72px; height: 72px; border-radius: 6px; cursor: pointer; border: 3px solid transparent; }
.thumb:hover { border-color: #9db7e0; }
.subject { width: 180px; border-radius: 8px; }
.replies { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); width: 100%; }
.answer { font-size: 1.5rem; font-weight: 600; overflow-wrap: anywhere; }
.who { color: #5c6773; font-size: .85rem; text-transform: uppercase; letter-spacing: .05em; }
.quiet { color: #5c6773; font-size: .9rem; }
.top { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); width: 100%; }
"""


def serve(run_dir: Path, port: int) -> None:
    """Serve the page for a run's models on this machine alone, until it is stopped.

    Raises:
        ConfigError: NiceGUI is not installed, the port is taken, or the directory holds no run with models.
    """
    if find_spec("nicegui") is None:
        raise ConfigError('compare: the page needs NiceGUI; install it with pip install "mmunlearner[compare]"')
    run = find_run(run_dir)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f"--port {port}: cannot be used ({error.strerror}); choose another") from None
        port = probe.getsockname()[1]  # of 0: one that is free
    from nicegui import app, ui
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from mmunlearner.web.panel import Panel

    panel = Panel(run)
    # Only by its own names: a page from elsewhere that has its name point to this machine is refused.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    app.on_startup(lambda: print(f"page: http://{HOST}:{port} (until Ctrl-C)", flush=True))
    with suppress(KeyboardInterrupt):  # the way to end it
        ui.run(
            lambda: Page(panel).draw(), host=HOST, port=port, title=f"{run.config.name}: ask its models", reload=False,
            show=False, show_welcome_message=False, favicon="🔎",
        )  # fmt: skip


class Page:
    """One visitor's page."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.image: ImageRef | None = None
        self.subject: Subject | None = None

    def draw(self) -> None:
        """Lay out the page."""
        from nicegui import ui

        ui.add_css(STYLE)
        with ui.column().classes("w-full max-w-6xl mx-auto gap-4"):
            ui.label(f"Ask the models of {self.panel.run.config.name}").classes("text-2xl font-semibold")
            with ui.element("div").classes("top"):
                with ui.element("div").classes("panel"):
                    self._draw_pictures()
                with ui.element("div").classes("panel"):
                    self._draw_question()
            self.replies = ui.element("div").classes("replies")
            self.memory = ui.label().classes("quiet")

    def _draw_pictures(self) -> None:
        from nicegui import ui

        ui.label("A picture").classes("who")
        try:
            columns = list(self.panel.subjects)
        except DataError as error:  # the answers do not need the data
            columns = []
            ui.label(f"The pictures of the run cannot be read: {error}").classes("quiet")
        if columns:
            choice = ui.select(columns, value=columns[0], label="set").classes("w-full set")
            grid = ui.row().classes("gap-1 max-h-64 overflow-y-auto")
            choice.on_value_change(lambda: self._draw_thumbnails(grid, choice.value))
            self._draw_thumbnails(grid, columns[0])
        ui.upload(
            label="or drop one here", auto_upload=True, max_file_size=LARGEST_FILE, on_upload=self._receive,
            on_rejected=lambda: ui.notify(f"larger than {LARGEST_FILE // 10**6} MB", type="negative"),
        ).props("flat bordered").classes("w-full mt-2")  # fmt: skip

    def _draw_thumbnails(self, grid, column: str) -> None:
        from nicegui import ui

        grid.clear()
        with grid:
            for subject in self.panel.subjects[column][:THUMBNAILS]:
                picture = subject.image.open()
                picture.thumbnail((144, 144))
                thumbnail = ui.image(picture).classes("thumb").props(f'fit=cover alt="{subject.entity}"')
                thumbnail.on("click", partial(self._pick, subject))

    def _draw_question(self) -> None:
        from nicegui import ui

        with ui.row().classes("w-full items-start no-wrap"):
            self.frame = ui.column().classes("gap-1")
            ui.button("No picture", on_click=lambda: self._show(None)).props("flat dense size=sm").classes("no-picture")
        self._show(None)
        self.question = ui.input("Question", placeholder="Who is this?").classes("w-full question")
        self.question.on("keydown.enter", self._ask)
        self.suggestions = ui.row().classes("gap-1")
        self.options = ui.textarea("Options, one per line: their likelihoods are shown").classes("w-full options")
        self.options.props("autogrow rows=2")
        if len(self.panel.unlearned) > 1:
            titles = {name: self.panel.title(name) for name in self.panel.unlearned}
            self.choice = ui.select(titles, value=self.panel.main, label="unlearned model").classes("w-full unlearned")
        self.button = ui.button("Ask", on_click=self._ask).classes("ask mt-2")

    def _show(self, image: ImageRef | None, caption: str = "") -> None:
        """Show the picture that is asked about."""
        from nicegui import ui

        self.image, self.subject = image, None
        self.frame.clear()
        with self.frame:
            if image is None:
                ui.label("No picture: the question is asked in words alone.").classes("quiet")
            else:
                picture = image.open()
                picture.thumbnail((520, 520))
                ui.image(picture).classes("subject")
                ui.label(caption).classes("quiet caption")

    def _pick(self, subject: Subject) -> None:
        """Take a picture of the data, and suggest the questions about it."""
        from nicegui import ui

        self._show(subject.image, subject.entity)
        self.subject = subject
        self.suggestions.clear()
        # A multiple choice needs no options of the reader's own.
        suggested = [item for item in subject.questions if item.task != "multiple_choice"][:SUGGESTIONS]
        with self.suggestions:
            for item in suggested:
                suggestion = ui.button(item.question, on_click=partial(self._suggest, item))
                suggestion.props("flat dense no-caps size=sm").classes("suggestion")
        if suggested:
            self._suggest(suggested[0])

    def _suggest(self, item: Example) -> None:
        """Write a question of the data, with its candidate answers as options."""
        self.question.value = prompt(item)
        self.options.value = "\n".join(candidate_answers(item, self.panel.pools))

    async def _receive(self, event) -> None:
        """Take a dropped picture."""
        from nicegui import ui

        image = ImageRef(event.file.name, await event.file.read())
        event.sender.reset()
        if problem := image.problem():
            ui.notify(f"{event.file.name}: {problem}", type="negative", multi_line=True)
            return
        self._show(image, event.file.name)
        self.suggestions.clear()

    def _asked_models(self) -> dict[str, str]:
        """Return the models of the three columns: name -> role."""
        chosen = self.choice.value if len(self.panel.unlearned) > 1 else self.panel.main
        named = {"vanilla": "vanilla", chosen: f"unlearned: {self.panel.title(chosen)}", "oracle": "oracle"}
        return {name: role for name, role in named.items() if name in self.panel.names}

    async def _ask(self) -> None:
        """Ask the models one after the other; each answer is shown as soon as it is there."""
        from nicegui import run, ui

        if not self.button.enabled:  # the key Enter, while a question is being answered
            return
        question, image = self.question.value or "", self.image
        options = list(dict.fromkeys(line.strip() for line in (self.options.value or "").split("\n") if line.strip()))
        truth = next((i.answer for i in self.subject.questions if prompt(i) == question), "") if self.subject else ""
        models = self._asked_models()
        self.button.disable()
        self.replies.clear()
        with self.replies:
            cards = {
                name: ui.column().classes(f"panel reply reply-{role.partition(':')[0]}")
                for name, role in models.items()
            }
        try:
            for name, role in models.items():
                with cards[name]:
                    ui.label(role).classes("who")
                    waiting = ui.spinner()
                reply = await run.io_bound(self.panel.ask, name, question, image, options)
                if reply is None:  # the server is being stopped
                    return
                waiting.delete()
                with cards[name]:
                    draw_reply(reply, truth)
            self.memory.text = f"In memory: {', '.join(self.panel.shelf.models)}. As many models stay as fit."
        except MMUnlearnerError as error:
            self.replies.clear()
            with self.replies:
                ui.label(str(error)).classes("panel problem text-red-800")
        finally:
            self.button.enable()


def draw_reply(reply: Reply, truth: str) -> None:
    """Draw a model's answer, and a bar for each option: its share of the likelihood of all of them."""
    from nicegui import ui

    ui.label(reply.answer or "(nothing)").classes("answer")
    if truth:
        ui.label(f"In the data: {truth}").classes("quiet truth")
    for option, share in reply.shares.items():
        with ui.column().classes("w-full gap-0 option"):
            ui.label(f"{option}: {100 * share:.1f} %").tooltip(f"likelihood {100 * exp(reply.options[option]):.3g} %")
            ui.linear_progress(share, show_value=False).props("rounded")
