"""One thread: the problems are tiny, and threads that wait for each other on a busy machine cost ten times as much."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
