"""Run a network on one page, and on eight, for which the memory does not suffice; print the error."""

import resource
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path.cwd()))

from app.config import ROOT
from app.detection.engines import load_engines
from app.detection.precision import Library, Runtime
from app.detection.weights import load_network

network = load_network(ROOT / "models" / "illustrations.pt")
(engine,) = load_engines(network, torch.device("cpu"), Runtime(Library.OPENVINO, torch.float32), 1)
engine(np.zeros((1, 640, 480, 3), np.uint8))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 60 * 2**20, resource.RLIM_INFINITY))
try:
    print("returned", engine(np.zeros((8, 640, 480, 3), np.uint8)).shape)
except RuntimeError as error:
    print(error)
