"""What a node does for another one that copies: it lists its directory, keeps, deletes. One line of JSON
each way. It works on no directory but the one that its own configuration has under the name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from fttcp.sync.record import Report
from fttcp.sync.tree import Directory, TreeError
from fttcp.sync.versions import Version

Words = dict[str, Any]


class Agent:
    """Of one directory, for one run."""

    def __init__(self, directory: Directory, own_name: str, report: Callable[[Report], None]) -> None:
        """``report``: keeps and tells how the run went."""
        self._directory, self._name, self._report = directory, own_name, report
        self._seen = directory
        self._listed: dict[str, Version] = {}

    def serve(self, requests: Iterable[str], answers: TextIO) -> None:
        """Answer until there are no more requests."""
        for line in requests:
            try:
                answer = self.answer(json.loads(line))
            except TreeError as error:
                answer = {"error": str(error)}
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                answer = {"error": f"not understood: {error!r:.200}: have the same fttcp on both nodes"}
            except OSError as error:
                answer = {"error": f"{error.filename}: {error.strerror}"}
            answers.write(json.dumps(answer, separators=(",", ":")) + "\n")
            answers.flush()

    def answer(self, request: Words) -> Words:
        """Raises TreeError, OSError; ValueError and the like for what is no request."""
        match request["op"]:
            case "begin":
                return self._begin(str(request["driver"]).replace("/", ""), request["exclude"])
            case "list":
                return self._list()
            case "keep":
                return {"kept": self._directory.keep(request["paths"], self._name, self._listed)}
            case "remove":
                return {"removed": self._directory.remove(request["paths"], self._listed)}
            case "end":
                report = Report(**request["report"])
                self._directory.end(report.driver, report.error is None)
                self._report(report)
                return {}
            case other:
                raise ValueError(f"op {other!r:.40}")

    def _begin(self, driver: str, exclude: list[str]) -> Words:
        self._directory.begin(driver)
        self._seen = self._directory.and_excluding([str(one) for one in exclude])
        return {"directory": str(self._directory.path), "exclude": self._directory.exclude, **self._list()}

    def _list(self) -> Words:
        self._listed = self._seen.listed()
        return {"tree": self._listed}
