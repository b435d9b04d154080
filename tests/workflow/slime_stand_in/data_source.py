"""In place of slime/rollout/data_source.py: as much of v0.2.1's as this project's data source stands on."""

import copy
import json
import os
from types import SimpleNamespace

import torch

STATE = ("sample_offset", "epoch_id", "sample_group_index", "sample_index", "metadata")


class Dataset:
    """A file's samples. slime also leaves out long prompts, and can shuffle, which is not asked for."""

    def __init__(self, args):
        with open(args.prompt_data) as rows:
            self.samples = [SimpleNamespace(**json.loads(row)) for row in rows]

    def __len__(self):
        return len(self.samples)


class RolloutDataSource:
    """Hands out groups of equal samples, which it numbers, one part of the file after another."""

    def __init__(self, args):
        self.args = args
        self.epoch_id = self.sample_group_index = self.sample_index = self.sample_offset = 0
        self.metadata = {}
        self.dataset = Dataset(args)

    def get_samples(self, num_samples):
        if self.sample_offset + num_samples <= len(self.dataset):
            prompts = self.dataset.samples[self.sample_offset : self.sample_offset + num_samples]
            self.sample_offset += num_samples
        else:
            prompts = self.dataset.samples[self.sample_offset :]
            num_samples -= len(prompts)
            self.epoch_id += 1
            prompts += self.dataset.samples[:num_samples]
            self.sample_offset = num_samples
        groups = []
        for prompt in prompts:
            group = []
            for _ in range(self.args.n_samples_per_prompt):
                sample = copy.deepcopy(prompt)
                sample.group_index, sample.index = self.sample_group_index, self.sample_index
                self.sample_index += 1
                group.append(sample)
            self.sample_group_index += 1
            groups.append(group)
        return groups

    def save(self, rollout_id):
        path = os.path.join(self.args.save, f"rollout/global_dataset_state_dict_{rollout_id}.pt")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        torch.save({name: getattr(self, name) for name in STATE}, path)

    def load(self, rollout_id=None):
        path = os.path.join(self.args.load, f"rollout/global_dataset_state_dict_{rollout_id}.pt")
        if os.path.exists(path):  # else it begins anew
            for name, value in torch.load(path).items():
                setattr(self, name, value)


class RolloutDataSourceWithBuffer(RolloutDataSource):
    """Hands out first what was given back."""

    def __init__(self, args):
        super().__init__(args)
        self.buffer = []

    def get_samples(self, num_samples):
        groups, self.buffer = self.buffer[:num_samples], self.buffer[num_samples:]
        if len(groups) < num_samples:
            groups += super().get_samples(num_samples=num_samples - len(groups))
        return groups

    def add_samples(self, samples):
        self.buffer += samples
