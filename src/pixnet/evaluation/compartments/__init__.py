"""The compartment test: whether maps follow known biology inside regions, where nothing was measured."""

from __future__ import annotations
