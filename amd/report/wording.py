"""What is said around a table's numbers: how to read them, whether the paper's order is ours, what they were made from.

Everything countable is counted from the content; nothing here knows a number.
"""

from amd.config.schema.closed import PROMPTED, VIDEO
from amd.report.content import Content
from amd.report.markup import MARK
from amd.report.origin import sentences
from amd.report.statistics import LEVEL


def title(content: Content) -> str:
    """As the paper numbers it."""
    return f"{content.table.paper}: {content.table.title}" if content.table.paper else content.table.title


def notes(content: Content) -> list[str]:
    """What must be read with the numbers, each one sentence; all that is countable is counted."""
    said = [f"± is half of the {LEVEL:.0%} interval of the mean over training seeds (Student's t); one seed has none."]
    if any(v.trained_on for line in content.lines for v in line.values.values()):
        said.append(
            f"{MARK} this metric was also this row's training reward, or is of its family: read it with the others."
        )
    if any(line.state == "not run" for line in content.lines):
        said.append("A row that is not run has no score at this scale yet.")
    if content.floor and content.table.track in PROMPTED:
        said.append(
            "Floor: what real images score under the same judges, which is the most that a perfect generator could. "
            "Half against half: of a distance, two halves of them from each other."
        )
    elif content.floor:
        said.append(
            "Floor: what real images score under the same judge. Half against half: each classifier is asked about the "
            "half that it was not trained on. As many as samples: drawn with replacement, against all of them; "
            "precision and recall say nothing there."
        )
    if content.stands_in and any(content.has_printed(column) for column in content.measured):
        said.append("The difference is arithmetic: ours is another metric, on other data, than the paper's.")
    said += [" ".join(note.split()) for note in content.table.notes]
    return said + content.complaints


def order_lines(content: Content) -> list[str]:
    """Whether the paper's order of rows is ours, column by column."""
    found = []
    for column in content.measured:
        if column.key in content.orders:
            ranks = content.orders[column.key]
            unsure = [
                line.row.title
                for line in content.lines
                if line.row.title in ranks["here"]
                and (test := line.values[column.key].comparison) is not None
                and test.verdict in ("inside the noise", "one seed")
            ]
            holds = "the same" if ranks["paper"] == ranks["here"] else "another"
            found.append(
                f"{content.names[column.key]}: {holds} order of the means as in the paper's {column.title}. "
                f"Paper, best first: {', '.join(ranks['paper'])}; here: {', '.join(ranks['here'])}."
                + (f" Not told apart from {content.table.baseline} here: {', '.join(unsure)}." if unsure else "")
            )
    return found


def footer(content: Content) -> list[str]:
    """What the numbers are of: n, seeds, protocol, judge, commits, digests and weights, and what is mixed."""
    if not content.scores:
        return ["Nothing has been scored at this scale yet."]
    said = [
        f"Samples per seed: {_each(content, 'n')}; benchmark {_each(content, 'benchmark')}, "
        f"version {_each(content, 'version')}.",
        *[f"Protocol: {' '.join(text.split())}" for text in _distinct(content, "protocol")],
        f"Judge {_each(content, 'judge')} (sha256 {_judged(content)}); "
        f"reward {_each(content, 'reward')} (sha256 {_short(content, 'reward_sha256')}).",
        *_seen(content),
        f"Code: commit {_short(content, 'git_sha')}, amd {_each(content, 'amd_version')}.",
    ]
    if len(commits := _distinct(content, "git_sha")) > 1:
        said.append(f"Mixed: these scores come from {len(commits)} commits.")
    for line in content.lines:
        if line.scores:
            shas = ", ".join(f"seed {seed} {score['student_sha256'][:12]}" for seed, score in line.scores.items())
            said.append(f"{line.row.system} (digest {content.digests[str(line.row.system)]}): {shas}.")
    return said + sentences(content.pulled)


def _distinct(content: Content, key: str) -> list[str]:
    return list(dict.fromkeys(str(score.get(key)) for score in content.scores))


def _each(content: Content, key: str) -> str:
    return ", ".join(_distinct(content, key))


def _judged(content: Content) -> str:
    """A panel's members by name, whose scores are shown; a single judge's hash alone."""
    found: dict[str, None] = {}
    for score in content.scores:
        said = score.get("judge_sha256")
        members = said.items() if isinstance(said, dict) else [("", str(said))]
        found |= dict.fromkeys(f"{name} {sha[:12]}".strip() for name, sha in members)
    return ", ".join(found)


def _seen(content: Content) -> list[str]:
    """Of clips, what each judge was shown: made from which texts, judged by which, and what nobody measures."""
    if content.table.track not in VIDEO:
        return []
    members = [pair for score in content.scores for pair in score.get("preprocessing", {}).items()]
    return [f"{stem} was shown: {text}." for stem, text in dict.fromkeys(members)]


def _short(content: Content, key: str) -> str:
    return ", ".join(f"{sha[:12]}{'+dirty' if sha.endswith('+dirty') else ''}" for sha in _distinct(content, key))
