"""The dashboard, the JSON API and the live stream."""

from omninode.server.access import Access
from omninode.server.app import create_app
from omninode.server.node import BreakerView, Node, SettingView, SharingView, SpoolView
from omninode.server.serve import run

__all__ = ["Access", "BreakerView", "Node", "SettingView", "SharingView", "SpoolView", "create_app", "run"]
