"""A board: the protocol of a leaderboard as TOML, checked whole before any work starts. See docs/boards.md."""

from robustnoise.board.checked import Board as Board
from robustnoise.board.file import BoardFile as BoardFile
from robustnoise.board.file import BudgetPart as BudgetPart
from robustnoise.board.file import DataPart as DataPart
from robustnoise.board.file import RunPart as RunPart
from robustnoise.board.file import ThreatPart as ThreatPart
from robustnoise.board.file import VictimPart as VictimPart
from robustnoise.board.loading import adhoc_board as adhoc_board
from robustnoise.board.loading import board_from as board_from
from robustnoise.board.loading import find_board as find_board
from robustnoise.board.loading import load_board as load_board
