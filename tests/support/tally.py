"""Counts the cases of a JUnit report on descriptor 3: "PASSED FAILED"; shows what failed.

ctest reports a program as one case; its cmocka cases are counted from its output, so that a program
that died half-way has failed in the case it died in, and one that failed outside its cases once.
"""

import os
import re
import sys
import xml.etree.ElementTree

SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed", re.MULTILINE)
EVENT = re.compile(r"^\[ *(RUN|OK|SKIPPED|FAILED) *\] ", re.M)


def count_program(case):
    """A case of ctest: (passed, failed)."""
    output = case.findtext("system-out") or ""
    told = SUMMARY.findall(output)
    if told:  # it counts its cases itself
        passed, failed = map(int, told[-1])
        return passed, failed or int(case.get("status") != "run")
    passed = failed = ran = 0
    running = False
    for word in EVENT.findall(output):
        if word == "RUN":
            ran, failed, running = ran + 1, failed + running, True
        elif running:  # else it is the summary that names a case again
            passed, failed, running = passed + (word == "OK"), failed + (word == "FAILED"), False
    failed += running
    if case.get("status") != "run":
        return passed, max(failed, 1)
    return passed + (not ran), failed


def count_python(case):
    """A case of pytest."""
    if case.find("failure") is not None or case.find("error") is not None:
        return 0, 1
    return (0, 0) if case.find("skipped") is not None else (1, 0)


def main():
    passed = failed = 0
    try:
        cases = list(xml.etree.ElementTree.parse(sys.argv[1]).iter("testcase"))
    except (OSError, xml.etree.ElementTree.ParseError) as err:
        print("no report: %s" % err)
        cases, failed = [], 1
    for case in cases:
        count = count_program if case.get("status") else count_python
        good, bad = count(case)
        if bad and count is count_program:
            print("== %s failed\n%s" % (case.get("name"), (case.findtext("system-out") or "")[-6000:]))
        passed, failed = passed + good, failed + bad
    if not cases:
        failed = 1
    os.write(3, b"%d %d\n" % (passed, failed))


main()
