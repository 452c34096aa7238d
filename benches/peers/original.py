#!/usr/bin/env python3
"""The script that fisga comes from, carried to Python 3 for comparison: same mask, same link, same loop.

usage: original.py DIR
"""
import os
import random
import sys
import time

import pyinotify


class Temporary(pyinotify.ProcessEvent):
    def process_IN_CREATE(self, event):
        path = os.path.join(event.path, event.name)
        print("Create: %s" % path)
        if event.name.startswith("Flash"):
            now = time.localtime()
            name = "video-%02d:%02d:%02d-%02d-%02d-%04d-%d.flv" % (
                now.tm_hour, now.tm_min, now.tm_sec, now.tm_mday, now.tm_mon, now.tm_year, random.randint(0, 1000))
            os.link(path, os.path.join(event.path, name))

    def process_IN_DELETE(self, event):
        print("Remove: %s" % os.path.join(event.path, event.name))


manager = pyinotify.WatchManager()
notifier = pyinotify.Notifier(manager, Temporary())
manager.add_watch(sys.argv[1], pyinotify.IN_DELETE | pyinotify.IN_CREATE, rec=False)
while True:
    try:
        notifier.process_events()
        if notifier.check_events():
            notifier.read_events()
    except KeyboardInterrupt:
        notifier.stop()
        print("Flash video logger stopped")
        break
