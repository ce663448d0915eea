"""A board as one HTML file that needs no network: data as JSON, drawn by the scripts of this package.

The page's content security policy lets no script or style run but these, by hash, and nothing load but pictures that
the file holds. Whatever comes from rows, cards or plugins is data; the scripts put it into text nodes alone.
"""

from robustnoise.report.page.data import page_data as page_data
from robustnoise.report.page.files import MAX_BYTES as MAX_BYTES
from robustnoise.report.page.files import page_files as page_files
from robustnoise.report.page.index import Listed as Listed
from robustnoise.report.page.index import index_page as index_page
