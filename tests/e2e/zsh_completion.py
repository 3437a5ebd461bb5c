#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Types at a real zsh: after `spillway ` a tab must list every verb of DIRECTORY/verbs, after `spillway VERB --` every
option of DIRECTORY/VERB.options."""
import os
import pathlib
import pty
import re
import select
import sys
import time

WITHIN_S = 20
directory = pathlib.Path(sys.argv[1])
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(TERM="dumb", COLUMNS="60", HOME=str(directory), ZDOTDIR=str(directory))
    os.execvp("zsh", ["zsh", "-f", "-i"])


def read_until(done):
    text, deadline = "", time.monotonic() + WITHIN_S
    while not done(text):
        left = deadline - time.monotonic()
        if left <= 0:
            sys.exit(f"zsh offered only:\n{text}")
        if select.select([terminal], [], [], left)[0]:
            text += os.read(terminal, 65536).decode(errors="replace")
    return text


def type_in(text):
    os.write(terminal, text.encode())


def offered(line, words):
    # Control-U empties the line before the next.
    type_in(line + "\t")
    read_until(lambda text: words <= set(re.findall(r"[^\s]+", text[len(line):])))
    type_in("\x15")


type_in("PS1=; stty cols 200 rows 200; fpath=($PWD/tools/package/completions $fpath); autoload -U compinit; "
        "compinit -u -D; setopt auto_list no_always_last_prompt no_list_beep; zstyle ':completion:*' insert-tab false; "
        "LISTMAX=1000; echo rea''dy\n")
read_until(lambda text: "ready" in text)
verbs = directory.joinpath("verbs").read_text().split()
offered("spillway ", set(verbs))
for verb in verbs:
    options = set(directory.joinpath(f"{verb}.options").read_text().split())
    if len(options) > 1:
        offered(f"spillway {verb} --", options)
type_in("\x15exit\n")
os.close(terminal)
os.waitpid(pid, 0)
