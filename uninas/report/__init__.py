"""The page of a run: one HTML file that opens without a network, or the same page served while the run goes on.

- `reading`: the database of a run, looked at without touching it
- `content`: what the page shows, as plain values; texts as changes of their parents
- `diagrams`: pictures of the candidates that matter most; `plots`: of all of them
- `page`: everything in one file; the scripts and styles are in the folder `page/`
- `server`: `uninas view`, the page of a run that goes on
- `ranking`: the page of a ranking, which is the same one with other columns
- `files`: what remains of a run in its folder

    from uninas.report import write_page
    write_page(Path("runs/first"))
"""

from uninas.report.page import write_page

__all__ = ["write_page"]
