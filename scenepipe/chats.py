"""A chat rebuilt from an archive: a tree of encounters, of which every branch is a path.

    met ── spoken ─┬─ met ─┬─ spoken        what was said, what was answered
                   │       └─ spoken        regenerated: one more answer to the same meeting
                   └─ met ─── spoken        edited: another text after the same answer

An encounter of kind ``met`` or ``spoken`` names in ``data["parent"]`` the one that it follows. Nothing is overwritten.
One that names none, a row of a file with ``chat`` and ``turn``, follows the newest answer to the turn before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from scenepipe.contracts import Archive, Encounter
from scenepipe.errors import InputError
from scenepipe.recall import operation_id
from scenepipe.scene import Origin, Scene, Turn, scene_id

FIRST_TURN = 1
_Age = tuple[datetime, str]


@dataclass(frozen=True)
class Step:
    """One turn of a branch, as the log knows it: without its text.

    Args:
        number: the turn's own number, or its place in the branch, from 1.
        met: id of the encounter in which it was said.
        spoken: id of the encounter in which it was answered, None where it was not.
        replies: how many answers it has on all branches.
        versions: how many texts stand in this place on all branches.
    """

    number: int
    scene_id: str
    met: str
    spoken: str | None
    reply: str | None
    at: datetime
    replies: int
    versions: int

    @property
    def tip(self) -> str:
        """The encounter that the next turn follows."""
        return self.spoken or self.met


class Chat:
    """The tree of one chat.

    Args:
        log: the chat's encounters in any order; other kinds than ``met`` and ``spoken`` are passed over.
    """

    def __init__(self, name: str, log: Iterable[Encounter], *, namespace: str = "default") -> None:
        self.name = name
        self.namespace = namespace
        ordered = sorted(log, key=_age)
        self._met = {e.id: e for e in ordered if e.kind == "met"}
        self._spoken = {e.id: e for e in ordered if e.kind == "spoken"}
        self._by_age = [_age(m) for m in self._met.values()]
        self._by_turn = sorted((m.turn, *_age(m)) for m in self._met.values() if m.turn is not None)
        self._by_run = {(m.scene_id, m.run): m.id for m in self._met.values()}
        self._parents: dict[str, str | None] = {}
        self._children: dict[str | None, list[str]] = {}
        for answer in self._spoken.values():
            self._join(answer.id, self._question_of(answer))
        for meeting in self._met.values():
            self._join(meeting.id, self._before(meeting))

    # --- Reading -----------------------------------------------------------------------------------------------------

    @property
    def tips(self) -> tuple[str, ...]:
        """The last encounter of every branch, the newest first."""
        ends = (self._encounter(name) for name in self._parents if not self._children.get(name))
        return tuple(end.id for end in sorted(ends, key=_age, reverse=True))

    def steps(self, tip: str | None = None) -> tuple[Step, ...]:
        """The turns of a branch, oldest first.

        Args:
            tip: an encounter of the chat, the last one of the branch; the newest branch for None.

        Raises:
            InputError: the chat has no such encounter.
        """
        if tip is None:
            return self.steps(self.tips[0]) if self.tips else ()
        if tip not in self._parents:
            raise InputError(f"chat '{self.name}' has no encounter '{tip}'; its branches end with {self._known()}")
        path = self._path(tip)
        answers = {str(self._parents[name]): name for name in path if name in self._spoken}
        meetings = [self._met[name] for name in path if name in self._met]
        return tuple(self._step(place, m, answers.get(m.id)) for place, m in enumerate(meetings, start=FIRST_TURN))

    def matched(self, history: Sequence[tuple[str, str | None]]) -> tuple[int, str | None]:
        """How many turns of a history, texts with their answers, begin a branch, and the encounter they end with.

        What a client sends again is found by its exact words; the newest of equal branches is taken.
        """
        ends: list[str | None] = [None]
        for count, (text, reply) in enumerate(history):
            further = self._further(ends, scene_id(text, self.namespace), reply)
            if not further:
                return count, ends[-1]
            ends = further
        return len(history), ends[-1]

    def _further(self, ends: Sequence[str | None], scene: str, reply: str | None) -> list[str | None]:
        said = [name for end in ends for name in self._children.get(end, ()) if name in self._met]
        said = [name for name in said if self._met[name].scene_id == scene]
        if reply is None:
            return [meeting.id for meeting in sorted((self._met[name] for name in said), key=_age)]
        answers = [self._spoken[a] for name in said for a in self._children.get(name, ()) if a in self._spoken]
        return [answer.id for answer in sorted(answers, key=_age) if answer.data.get("text") == reply]

    # --- Going on ----------------------------------------------------------------------------------------------------

    def follow(self, tip: str | None = None, *, user: str | None = None) -> Origin:
        """The origin of the next turn of a branch, the newest one for None."""
        steps = self.steps(tip)
        number, parent = (steps[-1].number + 1, steps[-1].tip) if steps else (FIRST_TURN, None)
        return Origin(namespace=self.namespace, chat=self.name, turn=number, parent=parent, user=user)

    def regenerate(self, step: Step, *, user: str | None = None) -> Origin:
        """The origin of one more answer to a turn: run its text again with it."""
        origin = Origin(namespace=self.namespace, chat=self.name, turn=step.number, user=user)
        return origin.model_copy(update={"parent": step.met, "regenerate": True})

    def edit(self, step: Step, *, user: str | None = None) -> Origin:
        """The origin of another text in the place of a turn: a branch begins there."""
        parent = self._parents[step.met]
        return Origin(namespace=self.namespace, chat=self.name, turn=step.number, parent=parent, user=user)

    def before(self, origin: Origin) -> tuple[Step, ...]:
        """The turns before a scene with this origin, oldest first."""
        if origin.regenerate and origin.parent in self._met:
            return self.steps(origin.parent)[:-1]
        tip = origin.parent if origin.parent in self._parents else self._last(origin.turn)
        return self.steps(tip) if tip is not None else ()

    # --- The tree ----------------------------------------------------------------------------------------------------

    def _join(self, name: str, parent: str | None) -> None:
        self._parents[name] = parent
        self._children.setdefault(parent, []).append(name)

    def _question_of(self, answer: Encounter) -> str | None:
        """The meeting that an answer belongs to; None where it was forgotten."""
        given = _parent(answer)
        return given if given in self._met else self._by_run.get((answer.scene_id, answer.run))

    def _before(self, meeting: Encounter) -> str | None:
        """What a meeting follows: the encounter it names, or the newest answer to the turn before it."""
        given = _parent(meeting)
        if given in self._spoken or (given in self._met and given != meeting.id):
            return given
        return self._last(meeting.turn, _age(meeting))

    def _last(self, turn: int | None, until: _Age | None = None) -> str | None:
        """The end of the turn before: by number where there are numbers, which no clock can change, else by time."""
        if turn is not None:
            place = bisect_left(self._by_turn, (turn,))
            last = self._by_turn[place - 1][-1] if place else None
        else:
            place = len(self._by_age) if until is None else bisect_left(self._by_age, until)
            last = self._by_age[place - 1][-1] if place else None
        answers = [a for a in self._children.get(last, ()) if a in self._spoken]
        return answers[-1] if answers else last

    def _path(self, tip: str) -> list[str]:
        """From the first encounter to the tip. Parents that lead in a circle, which no run writes, end it."""
        path: dict[str, None] = {}
        name: str | None = tip
        while name is not None and name not in path:
            path[name] = None
            name = self._parents[name]
        return list(reversed(path))

    def _step(self, place: int, meeting: Encounter, spoken: str | None) -> Step:
        answer = self._spoken[spoken] if spoken else None
        said = answer.data.get("text") if answer else None
        beside = self._children.get(self._parents[meeting.id], ())
        return Step(
            number=place if meeting.turn is None else meeting.turn,
            scene_id=meeting.scene_id,
            met=meeting.id,
            spoken=spoken,
            reply=said if isinstance(said, str) else None,
            at=meeting.at,
            replies=sum(name in self._spoken for name in self._children.get(meeting.id, ())),
            versions=sum(name in self._met for name in beside),
        )

    def _encounter(self, name: str) -> Encounter:
        return self._met.get(name) or self._spoken[name]

    def _known(self) -> str:
        return ", ".join(self.tips[:5]) or "nothing: it is empty"


def _parent(encounter: Encounter) -> str | None:
    given = encounter.data.get("parent")
    return given if isinstance(given, str) else None


def _age(encounter: Encounter) -> _Age:
    return encounter.at, encounter.id


# --- From an archive -------------------------------------------------------------------------------------------------


async def load(archive: Archive, name: str, *, namespace: str = "default") -> Chat:
    """A chat of an open archive; an empty one where it has none of that name."""
    return Chat(name, await archive.chat(name, namespace=namespace), namespace=namespace)


async def texts(archive: Archive, steps: Sequence[Step]) -> tuple[Turn, ...]:
    """The turns with what was said in them; one whose scene is not stored any more is left out."""
    known = {scene.id: scene.text for scene in await archive.get(list(dict.fromkeys(s.scene_id for s in steps)))}
    return tuple(
        Turn(text=known[step.scene_id], reply=step.reply, scene_id=step.scene_id)
        for step in steps
        if step.scene_id in known
    )


def tip_of(scene: Scene) -> str:
    """The encounter that the next turn follows, after a scene was run and remembered."""
    answered = scene.reply is not None and scene.reply.answers
    if not answered and scene.origin.regenerate and scene.origin.parent:
        return scene.origin.parent
    return operation_id(scene, scene.origin.run, "spoken" if answered else "met")


@dataclass(frozen=True)
class Summary:
    """A chat in a list of chats."""

    name: str
    namespace: str
    turns: int
    branches: int
    first: datetime
    last: datetime


async def summaries(archive: Archive, *, namespace: str | None = None) -> list[Summary]:
    """Every chat of an archive, the latest first; of one namespace, or of all. Reads the whole log."""
    logs: dict[tuple[str, str], list[Encounter]] = {}
    for encounter in await archive.encounters():
        if encounter.chat is not None and namespace in (None, encounter.namespace):
            logs.setdefault((encounter.namespace, encounter.chat), []).append(encounter)
    found = [_summary(Chat(name, log, namespace=space), log) for (space, name), log in logs.items()]
    return sorted(found, key=lambda chat: (chat.last, chat.namespace, chat.name), reverse=True)


def _summary(chat: Chat, log: Sequence[Encounter]) -> Summary:
    ages = [encounter.at for encounter in log]
    return Summary(chat.name, chat.namespace, len(chat.steps()), len(chat.tips), min(ages), max(ages))
