"""What may stand in a path or a query, bounded before anything is looked up."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

RoundNumber = Annotated[int, Path(ge=1, le=2**63 - 1, description="Number of the round, from 1.")]
ContributionId = Annotated[int, Path(ge=1, le=2**63 - 1, description="Id of the contribution, from 1.")]
Address = Annotated[str, Path(pattern=r"^0x[0-9a-fA-F]{40}$", description="Account, 0x and 40 hex digits.")]
PageNumber = Annotated[int, Query(ge=1, le=10**9, description="Which part of a long list, from 1.")]
Version = Annotated[int | None, Query(ge=1, le=2**32 - 1, description="Version of the manifest; default: the latest.")]
