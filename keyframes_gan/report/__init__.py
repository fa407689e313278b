"""What a person looks at afterwards: tables, CSV and JSON files, side-by-side frames, contact sheets, and the report page.

Pictures are uint8 RGB (H, W, 3). Files are written under a temporary name and renamed when complete. The page is made of
`report.page` (tables and text), `report.charts` (curves), `report.evidence` (pictures of videos) and `report.rates` (BD-rate).
"""

from __future__ import annotations

from keyframes_gan.report.files import write_bytes, write_csv, write_json
from keyframes_gan.report.pictures import contact_sheet, label, side_by_side, write_png
from keyframes_gan.report.tables import drawn_grid, heading, print_table, table

__all__ = [
    "contact_sheet",
    "drawn_grid",
    "heading",
    "label",
    "print_table",
    "side_by_side",
    "table",
    "write_bytes",
    "write_csv",
    "write_json",
    "write_png",
]
