"""Hosts: what connects to them.

base · the seam every protocol implements      ssh · the block, built by hand or from a plan
connection · the seam over SSH                 transport, session · opening it; one command over it
elevate · sudo and runuser                     jobs (job*.sh) · effects that start at most once and survive a drop
identity · is it the right host?               scripts · the constant scripts and what their failures mean
tunnel · a local port that leads to the host
"""
