"""The front door: a prompt, its tasks and its context in; what may be passed on, and every finding, out.

Order of work: caps, text or not, clean-up, schema and graph, then the detectors. The prompt and the tasks can refuse
the run; a context item never can, it is left out or flagged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from omninode.core.clock import Clock, SystemClock
from omninode.core.deadline import Deadline
from omninode.validation import sieve
from omninode.validation.decide import Watch
from omninode.validation.injection import is_ready, make_ready
from omninode.validation.items import is_heavier, item_parts, listed
from omninode.validation.limits import excess
from omninode.validation.pace import Pace
from omninode.validation.placeholders import Placeholders
from omninode.validation.policy import Trust, ValidationPolicy
from omninode.validation.report import Action, Finding, Severity, ValidationReport, excerpt, strength, strongest
from omninode.validation.screen import Screened, screen
from omninode.validation.secrets import redact
from omninode.validation.substitute import substituted
from omninode.validation.tasks import TaskModel, parse_tasks, texts
from omninode.validation.unicode import clean

__all__ = ["InputValidator"]

# Tasks looked at between two pauses.
_AT_ONCE = 500


class InputValidator:
    """Validates input under one policy. It keeps no state between calls, so calls may overlap."""

    def __init__(self, policy: ValidationPolicy | None = None, *, clock: Clock | None = None) -> None:
        self._policy = policy or ValidationPolicy()
        self._clock = clock or SystemClock()

    @property
    def policy(self) -> ValidationPolicy:
        """The policy in force."""
        return self._policy

    async def validate_and_sanitize(
        self,
        user_prompt: str | bytes,
        tasks_data: object = None,
        context_items: object = None,
        *,
        placeholders: Placeholders | None = None,
        route: str | None = None,
    ) -> ValidationReport:
        """What of the input may be passed on, and what was found in it. Never raises for bad input.

        Args:
            user_prompt: text, or bytes that must be UTF-8.
            tasks_data: JSON text, `{"tasks": [...]}`, a list of dicts or TaskModels; None for no tasks.
            context_items: strings, dicts or objects with `id`, `content` and `trust`, or a mapping of id to such;
                without a trust they count as retrieved.
            placeholders: of the run this is part of, so that a value has one name in all of it; by default new ones.
            route: where the input is bound for, by a name of the policy's `routes`.

        Input above the policy's `thread_above_bytes`, and the first of a process, is worked on in a thread that pauses, so
        that the loop has its turn.
        """
        started = self._clock.monotonic()
        is_first = not is_ready()
        if is_first:
            await asyncio.to_thread(make_ready)
        is_heavy = is_first or is_heavier(user_prompt, tasks_data, context_items, than=self._policy.thread_above_bytes)
        work = self._begun(route, placeholders, is_in_thread=is_heavy)
        if is_heavy:
            await asyncio.to_thread(work.read, user_prompt, tasks_data, context_items)
        else:
            work.read(user_prompt, tasks_data, context_items)
        return work.report(duration_ms=1000 * (self._clock.monotonic() - started))

    def check(
        self, text: str | bytes, *, trust: Trust = Trust.USER, path: str = "text", route: str | None = None
    ) -> Screened:
        """One text by itself, as something of `trust`: what may be passed on of it, and what was found.

        Text that may instruct has the limit of a prompt and can be refused; any other has that of a context item and
        can be dropped. Works in the calling thread. Never raises for bad input.
        """
        return self._begun(route, None).checked(text, path=path, trust=trust)

    def check_tasks(self, data: object, *, path: str = "tasks", route: str | None = None) -> tuple[Finding, ...]:
        """What is wrong with a task list, and what was found in its texts. Works in the calling thread."""
        work = self._begun(route, None)
        work.read_tasks(data)
        found = work.report(duration_ms=0.0).deficiencies
        return tuple(replace(each, path=path + each.path.removeprefix("tasks")) for each in found)

    def sanitized(self, text: str, *, placeholders: Placeholders) -> str:
        """`text` cleaned and with its secrets replaced, and nothing else; what is no text is shown as such.

        It is cut at the policy's `max_prompt_bytes`. For what is told of a prompt before it has been judged.
        """
        policy = self._policy.for_trust(Trust.USER)
        text = text[: policy.max_prompt_bytes].encode("utf-8", "replace").decode().replace("\0", "\ufffd")
        derived = clean(text).derived
        return substituted(derived, path="prompt", trust=Trust.USER, policy=policy, placeholders=placeholders).text

    def _begun(self, route: str | None, placeholders: Placeholders | None, *, is_in_thread: bool = False) -> _Work:
        policy = self._policy.for_route(route)
        deadline = None if policy.deadline_s is None else Deadline.after(policy.deadline_s, clock=self._clock)
        return _Work(policy, placeholders or Placeholders(), Pace(deadline=deadline, is_in_thread=is_in_thread))


class _Work:
    """One validation as it goes: what has been accepted and found so far."""

    def __init__(self, policy: ValidationPolicy, placeholders: Placeholders, pace: Pace) -> None:
        self._policy = policy
        self._by_trust = {trust: policy.for_trust(trust) for trust in Trust}
        self._placeholders = placeholders
        self._pace = pace
        self._prompt = ""
        self._tasks: tuple[TaskModel, ...] | None = None
        self._items: dict[str, str] = {}
        self._dropped: list[str] = []
        self._flagged: list[str] = []
        self._findings: list[Finding] = []
        self._waived = 0

    def read(self, prompt: object, tasks_data: object, context_items: object) -> None:
        self.read_prompt(prompt)
        if tasks_data is not None:
            self.read_tasks(tasks_data)
        if context_items is not None:
            for index, item in enumerate(listed(context_items)):
                self.read_item(item, index)

    def checked(self, text: str | bytes, *, path: str, trust: Trust) -> Screened:
        """One text of `trust`, within its limit, through the detectors."""
        may_refuse = trust.may_instruct
        action = Action.BLOCK if may_refuse else Action.DROP
        over = excess(text, limits=self._policy, is_item=not may_refuse, pause=self._pace.pause)
        if over is not None:
            found = _finding(over[0], path, f"{path} is {over[1]}", "cut it into pieces", action=action)
            return Screened(text="", findings=(found,))
        try:
            given = text if isinstance(text, str) else text.decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"{path} is not UTF-8 text (byte {error.start}); it looks like binary data"
            return Screened(text="", findings=(_finding("TEXT.NOT_UTF8", path, message, "", action=action),))
        return self._screen(given, path=path, trust=trust, may_refuse=may_refuse)

    def read_prompt(self, prompt: object) -> None:
        if not isinstance(prompt, str | bytes | bytearray):
            self._refuse(
                "PROMPT.TYPE", f"the prompt is of type {type(prompt).__name__}, not text", "pass a str or bytes"
            )
        elif (over := excess(prompt, limits=self._policy, is_item=False, pause=self._pace.pause)) is not None:
            self._refuse(over[0], f"the prompt is {over[1]}", "shorten it, or put the material into the workspace")
        elif (text := self._decoded(prompt)) is not None:
            screened = self._screen(text, path="prompt", trust=Trust.USER)
            self._findings += screened.findings
            self._prompt = screened.text
            if not screened.text.strip() and screened.action is not Action.BLOCK:
                self._refuse("PROMPT.EMPTY", "the prompt is empty", "say what is to be done")

    def read_tasks(self, data: object) -> None:
        policy = self._policy
        tasks, findings = parse_tasks(data, known_agents=policy.known_agents, limits=policy, pause=self._pace.pause)
        self._findings += findings
        # All of them first, so that names they use for placeholders are known before any is given out.
        quiet: list[bool] = []
        for start in range(0, len(tasks), _AT_ONCE):
            quiet += self._quiet(tasks[start : start + _AT_ONCE])
        screened: list[TaskModel] = []
        for index, task in enumerate(tasks):
            if index % _AT_ONCE == 0:
                self._pace.pause()
            screened.append(task if quiet[index] else self._screened(task, f"tasks[{index}]"))
        self._tasks = tuple(screened)

    def _quiet(self, tasks: Sequence[TaskModel]) -> list[bool]:
        """Which tasks hold no text that has to be looked at by itself."""
        found = [True] * len(tasks)
        whose = [(index, text) for index, task in enumerate(tasks) for text in texts(task)]
        self._pace.pause()
        policy = self._by_trust[Trust.USER]
        # What fails here, or has no time, is told of each text when it is screened.
        watch = Watch(path="tasks", trust=Trust.USER, policy=policy, pace=self._pace)
        told = watch.run(
            "all of it",
            lambda: sieve.quiet(
                [text for _, text in whose], policy=policy, placeholders=self._placeholders, pace=self._pace
            ),
        )
        for (index, _), is_quiet in zip(whose, told or [False] * len(whose), strict=True):
            found[index] = found[index] and is_quiet
        return found

    def read_item(self, item: object, index: int) -> None:
        name, content, trust = item_parts(item, index)
        path = f"context[{name}]"
        if not isinstance(content, str):
            self._drop(name, "CONTEXT.TYPE", f"{path} is of type {type(content).__name__}, not text", "pass text")
        elif (over := excess(content, limits=self._policy, is_item=True, pause=self._pace.pause)) is not None:
            self._drop(name, over[0], f"{path} is {over[1]}", "cut it into pieces")
        else:
            # Unless the policy says so, context is no reason to refuse the run, however trusted its source.
            screened = self._screen(content, path=path, trust=trust, may_refuse=False)
            self._findings += screened.findings
            if screened.action in {Action.DROP, Action.BLOCK}:
                self._dropped.append(name)
            else:
                self._items[name] = screened.text
                if any("LLM01" in finding.owasp for finding in screened.findings):
                    self._flagged.append(name)

    def report(self, *, duration_ms: float) -> ValidationReport:
        action = strongest(finding.action for finding in self._findings)
        return ValidationReport(
            is_valid=action is not Action.BLOCK,
            action=action,
            sanitized_prompt=self._prompt,
            sanitized_tasks=self._tasks,
            deficiencies=_bounded(self._findings, self._policy.max_findings),
            duration_ms=duration_ms,
            sanitized_items=MappingProxyType(self._items),
            dropped_items=tuple(self._dropped),
            waived=self._waived,
            flagged_items=tuple(self._flagged),
        )

    def _decoded(self, prompt: str | bytes | bytearray) -> str | None:
        if isinstance(prompt, str):
            return prompt
        try:
            return prompt.decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"the prompt is not UTF-8 text (byte {error.start}); it looks like binary data"
            self._refuse("TEXT.NOT_UTF8", message, "save it as UTF-8 text")
            return None

    def _screened(self, task: TaskModel, path: str) -> TaskModel:
        """The task with every string of its description and input treated as the prompt is."""
        changed: dict[str, object] = {"description": self._text(task.description, f"{path}.description")}
        if task.input is not None:
            changed["input"] = self._value(task.input, f"{path}.input")
        return task.model_copy(update=changed)

    def _value(self, value: object, path: str) -> object:
        """Parsed JSON with its strings treated; its depth is within the caps, so recursion is bounded."""
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, list):
            return [self._value(child, f"{path}[{index}]") for index, child in enumerate(value)]
        if isinstance(value, dict):
            return {
                self._text(key, path): self._value(child, f"{path}.{excerpt(redact(key))}")
                for key, child in value.items()
            }
        return value

    def _text(self, text: str, path: str) -> str:
        screened = self._screen(text, path=path, trust=Trust.USER)
        self._findings += screened.findings
        return screened.text

    def _screen(self, text: str, *, path: str, trust: Trust, may_refuse: bool = True) -> Screened:
        screened = screen(
            text,
            path=path,
            trust=trust,
            policy=self._by_trust[trust],
            placeholders=self._placeholders,
            pace=self._pace,
            may_refuse=may_refuse,
        )
        self._waived += screened.waived
        return screened

    def _refuse(self, code: str, message: str, remedy: str) -> None:
        self._findings.append(_finding(code, "prompt", message, remedy, action=Action.BLOCK))

    def _drop(self, name: str, code: str, message: str, remedy: str) -> None:
        self._dropped.append(name)
        self._findings.append(_finding(code, f"context[{name}]", message, remedy, action=Action.DROP))


def _finding(code: str, path: str, message: str, remedy: str, *, action: Action) -> Finding:
    severity = Severity.ERROR if action is Action.BLOCK else Severity.WARNING
    return Finding(code=code, severity=severity, path=path, message=message, remedy=remedy, action=action)


def _bounded(findings: list[Finding], most: int) -> tuple[Finding, ...]:
    """The `most` strongest findings in their order, and one that counts the others."""
    if len(findings) <= most:
        return tuple(findings)
    ranked = sorted(range(len(findings)), key=lambda index: (-strength(findings[index].action), index))
    kept = [findings[index] for index in sorted(ranked[:most])]
    left = len(findings) - most
    message = f"{left} more findings of the same or a milder action are not listed"
    more = _finding("REPORT.MORE", "report", message, "raise max_findings to see them", action=Action.ALLOW)
    return (*kept, replace(more, severity=Severity.INFO))
