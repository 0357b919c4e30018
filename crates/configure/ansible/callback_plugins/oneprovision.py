"""Tells the program that runs Ansible what happens, line by line, and ends with that program.

Standard input is one end of a socket whose other end that program holds. Events go out of it as JSON,
one a line. Nothing ever comes in but its end: then the program is gone, however it went, and everything
that would go on configuring machines unseen is killed, in this process and in each of its workers.
"""

import atexit
import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import threading
import time

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import action_loader

DOCUMENTATION = """
name: oneprovision
type: stdout
short_description: tells oneprovision what happens
description:
  - Writes events as JSON lines to standard input, which is a socket, and a log for people to standard output.
  - It is of no use to anybody but oneprovision.
"""

# The folder of this run: it holds ansible/callback_plugins/ with this file.
FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Folder of the sockets of SSH's masters in it.
SOCKETS = os.path.join(FOLDER, "c")
# Longest text in an event. The reader masks secrets and shortens it further, in this order.
LONGEST = 65536
# What Python makes of bytes that are no UTF-8.
HALVES = re.compile("[\ud800-\udfff]")
# What a failed task has to say, in the order of its worth.
SAYINGS = (
    "msg",
    "reason",
    "assertion",
    "stderr",
    "stdout",
    "module_stderr",
    "module_stdout",
    "exception",
)
# How a client of an SSH master says hello, and that it shall end (PROTOCOL.mux of OpenSSH).
END_MASTER = bytes([0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 8, 16, 0, 0, 5, 0, 0, 0, 0])


class Guard:
    """Kills this process and its kin when the other end of a socket is closed."""

    def __init__(self, channel):
        self._channel = channel
        self._main = os.getpid()
        self._ending = False
        os.register_at_fork(after_in_child=self._start)
        atexit.register(self._at_exit)
        self._start()

    def _start(self):
        if not self._ending:
            threading.Thread(target=self._watch, name="guard", daemon=True).start()

    def _watch(self):
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while not self._is_closed():
            poll.poll()
        if os.getpid() == self._main:
            self._end_main()
        else:
            self._end_worker()

    def _is_closed(self):
        try:
            return not self._channel.recv(4096, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _end_main(self):
        """Leaves a process behind that removes the folder once all others are dead."""
        self._ending = True
        if os.getpgrp() != self._main:
            # Then this is not how oneprovision starts it, and whose group it is nobody knows.
            os.kill(self._main, signal.SIGKILL)
        if os.fork() == 0:
            os.setsid()
            os.killpg(self._main, signal.SIGKILL)
            clean_up()
            os._exit(0)
        # The other one is to leave the group before it is killed. It does that.
        time.sleep(10)
        os.killpg(0, signal.SIGKILL)

    def _end_worker(self):
        """A worker has a session of its own since ansible-core 2.19; before, its group is killed."""
        # Were it dead before the main process, that one could end, and leave the folder, by itself.
        end = time.monotonic() + 15
        while os.getppid() == self._main and time.monotonic() < end:
            time.sleep(0.01)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    def _at_exit(self):
        if os.getpid() == self._main and not self._ending and self._is_closed():
            clean_up()


def clean_up():
    """Ends SSH's masters and removes the folder."""
    # Workers die meanwhile, and the master of a connection that is just being made appears.
    for pause in (0.1, 0.4):
        time.sleep(pause)
        end_masters()
        shutil.rmtree(FOLDER, ignore_errors=True)


def end_masters():
    """Ends SSH's masters, which would keep their connections for a while."""
    try:
        names = os.listdir(SOCKETS)
    except OSError:
        return
    for name in names:
        path = os.path.join(SOCKETS, name)
        try:
            if stat.S_ISSOCK(os.stat(path).st_mode):
                with socket.socket(socket.AF_UNIX) as master:
                    master.settimeout(1)
                    master.connect(path)
                    master.sendall(END_MASTER)
                    while master.recv(4096):
                        pass
        except OSError:
            pass


def one_text(value):
    """A value of a result as text."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (list, tuple)) and all(isinstance(line, str) for line in value):
        return "\n".join(value).strip()
    return json.dumps(value, default=str)


def is_hidden(data, task=None):
    """Whether a result is not to be shown (no_log)."""
    hides = task is not None and getattr(task, "no_log", False)
    return bool(hides or data.get("_ansible_no_log") or "censored" in data)


def without_traceback(text):
    """A text with the last line alone of each Python traceback: it says what went wrong."""
    kept, inside = [], False
    for line in text.split("\n"):
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif not inside or (line and not line.startswith(" ")):
            inside = False
            kept.append(line)
    return "\n".join(kept)


def message(data, task=None):
    """All that a result says for itself."""
    if is_hidden(data, task):
        return "what it says is hidden, as the playbook wants it (no_log)"
    parts = []
    for item in data.get("results") or []:
        if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
            if is_hidden(item):
                parts.append("an item of it: " + message(item))
            else:
                label = one_text(item.get("_ansible_item_label", item.get("item", "")))
                parts.append("item %s: %s" % (label, message(item)))
    modules = data.get("failed_modules")
    for name, result in modules.items() if isinstance(modules, dict) else ():
        if isinstance(result, dict):
            parts.append("%s: %s" % (name, message(result)))
    for key in SAYINGS:
        text = without_traceback(one_text(data[key])) if data.get(key) else ""
        # A loop's own message says only that some item failed.
        if not text or text.startswith("(traceback unavailable") or (key == "msg" and parts):
            continue
        if not any(text in part for part in parts):
            parts.append(text if key in ("msg", "reason") else "%s: %s" % (key, text))
    if data.get("rc") not in (None, 0):
        parts.insert(1, "exit status %s" % data["rc"])
    if any("No usable temporary directory" in part for part in parts):
        parts.append("the disk of the machine may be full, or read-only")
    return "\n".join(parts)[:LONGEST] or "it says nothing"


def ends_all(task, together):
    """Whether the failure of a task on one host ends the play for all hosts.

    Where they do not go through it together, any_errors_fatal is passed over, but run_once is not: the
    task runs on each, and its failure on one fails all.
    """
    if together and getattr(task, "any_errors_fatal", False):
        return True
    once = getattr(task, "run_once", False)
    if isinstance(once, str):
        once = once.strip().lower() not in ("", "no", "false")
    try:
        action = action_loader.get(task.action, class_only=True)
    except Exception:  # An action without a plugin is a module: it runs on each host.
        action = None
    return bool(once or getattr(action, "BYPASS_HOST_LOOP", False))


class CallbackModule(CallbackBase):
    """See the module."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "oneprovision"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._lock = threading.Lock()
        # What is started from here finds an empty standard input instead of the socket.
        self._channel = socket.socket(fileno=os.dup(0))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._guard = Guard(self._channel)
        self._plays = []
        # Hosts by play: those that it is for, as it begins, and those on which it began.
        self._wanted = {}
        self._started = {}
        self._names = {}
        # Whether hosts go through the play together.
        self._together = True
        self._ended_by = set()
        self._stopped = False

    def _tell(self, event, **more):
        line = json.dumps(dict(more, event=event), default=str, ensure_ascii=False) + "\n"
        # Bytes that are no UTF-8 come as halves of characters, which are nothing in JSON.
        line = HALVES.sub("\ufffd", line)
        with self._lock:
            self._channel.sendall(line.encode("utf-8"))

    def _show(self, text):
        self._display.display(text)

    # Plays and tasks.

    def v2_playbook_on_start(self, playbook):
        self._plays = playbook.get_plays()

    def v2_playbook_on_play_start(self, play):
        inventory = play.get_variable_manager()._inventory
        hosts = [host.get_name() for host in inventory.get_hosts(play.hosts)]
        # It may begin in parts (serial); what it is for is known before the first.
        if play._uuid not in self._wanted:
            wanted = inventory.get_hosts(play.hosts, ignore_restrictions=True)
            self._wanted[play._uuid] = [host.get_name() for host in wanted]
        self._started.setdefault(play._uuid, set()).update(hosts)
        # A strategy that is not Ansible's may be of either kind.
        strategy = str(getattr(play, "strategy", "")).rpartition(".")[2]
        self._together = strategy not in ("free", "host_pinned")
        self._tell("play", pattern=one_text(play.hosts).replace("\n", ","))
        self._show("\nPLAY [%s] on %d hosts" % (play.get_name(), len(hosts)))

    def v2_playbook_on_no_hosts_remaining(self):
        self._stopped = True
        self._show("\nThe play has come to its end: too many hosts have failed.")

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._task(task)

    def v2_playbook_on_handler_task_start(self, task):
        self._task(task)

    def _task(self, task):
        # Here its name is with its variables' values; later it is not, in some versions.
        self._names[task._uuid] = task.get_name().strip()
        self._show("\nTASK [%s] %s" % (self._name(task), task.get_path() or ""))

    def _name(self, task):
        return self._names.get(task._uuid) or task.get_name().strip()

    def v2_runner_on_start(self, host, task):
        self._tell("begun", host=host.get_name(), task=self._name(task))

    # Results.

    def _result(self, result, how, told=""):
        # ansible-core 2.19 gave these attributes names without an underscore.
        host = getattr(result, "host", None) or result._host
        task = getattr(result, "task", None) or result._task
        data = getattr(result, "result", None) or result._result
        host = host.get_name()
        if how in ("failed", "unreachable"):
            told = message(data, task)
            ignored = "ignore_errors" if how == "failed" else "ignore_unreachable"
            if getattr(result, "_task_fields", {}).get(ignored):
                how = "ignored"
            elif ends_all(task, self._together):
                self._ended_by.add(host)
        place = task.get_path() or ""
        self._tell("ended", host=host, task=self._name(task), result=how, message=told, place=place)
        text = "%s: [%s]" % (how, host)
        if data.get("_ansible_verbose_always") and not told and not is_hidden(data, task):
            told = one_text({k: v for k, v in data.items() if not k.startswith("_ansible_")})
        self._show(text + "".join("\n    " + line for line in told.splitlines()))
        for warning in data.get("warnings") or []:
            if not is_hidden(data, task):
                warning = one_text(warning)[:LONGEST]
                self._tell("warning", host=host, message=warning)
                self._show("warning: [%s] %s" % (host, warning))

    def v2_runner_on_ok(self, result):
        data = getattr(result, "result", None) or result._result
        self._result(result, "changed" if data.get("changed") else "ok")

    def v2_runner_on_skipped(self, result):
        self._result(result, "skipped")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._result(result, "failed")

    def v2_runner_on_unreachable(self, result):
        self._result(result, "unreachable")

    # The end.

    def v2_playbook_on_stats(self, stats):
        hosts = {host: stats.summarize(host) for host in stats.processed}
        failed = {name for name, sums in hosts.items() if sums["failures"] or sums["unreachable"]}
        self._tell(
            "stats",
            hosts=hosts,
            begun=sorted(set().union(*self._started.values())),
            # Where nothing failed, nothing was left out.
            missed=self._missed() if failed else {},
            # One that was rescued has ended nothing.
            ended_by=sorted(self._ended_by & failed),
            stopped=self._stopped,
        )
        self._show("\nEND")
        for name, sums in sorted(hosts.items()):
            counts = " ".join("%s=%s" % pair for pair in sorted(sums.items()))
            self._show("%s: %s" % (name, counts))

    def _missed(self):
        """Plays that never began on hosts for which they were: all before them failed."""
        missed = {}
        for play in self._plays:
            begun = self._started.get(play._uuid, ())
            wanted = self._wanted.get(play._uuid)
            for name in self._would_want(play) if wanted is None else wanted:
                if name not in begun:
                    missed.setdefault(name, []).append(play.get_name())
        return missed

    def _would_want(self, play):
        """The hosts of a play that was never reached."""
        inventory = play.get_variable_manager()._inventory
        # A template has no value before its play begins: it may stand for any host.
        is_template = any(sign in one_text(play.hosts) for sign in ("{{", "{%"))
        pattern = "all" if is_template else play.hosts
        return [host.get_name() for host in inventory.get_hosts(pattern, ignore_restrictions=True)]
