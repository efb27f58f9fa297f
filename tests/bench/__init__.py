"""Measurements as ratios within one run: machines differ, the ratio of two things done side by side does not.

| module | what it measures |
|---|---|
| `lab` | the hosts to measure on |
| `recovery` | a whole recovery against the same work done by hand |
| `examining` | the check of every package against `dpkg --verify` |
| `fleet` | fifty hosts in one scan: time, and memory and processor time of the orchestrator |
| `streaming` | our SSH streams against the system's `ssh` |
| `storm` | 20,000 alerts in 10 s against a plain FastAPI handler, and `kill -9` in the middle |
| `__main__` | all of them, as a table |
"""
