"""Sources of pages other than IIIF: zip files, PDFs, folders, and lists of image URLs.

    documents     fetch or store the document of a job, load its canvases
    recognition   recognise a document by its bytes, and list its pages
    listing       the pages of a source as a file, and as canvases
    image_lists   parse a list of image URLs
    page_files    the pages in a zip file or a folder
    pdf_pages     the pages in a PDF
    pdf_process   the process that reads a PDF
    local_pages   read the pages of a file of a job
    names         names of images, and the natural order of pages

In: a URL or a stored file. Out: a ``Manifest``, as for IIIF, and the images of its pages. Names of images:

* zip file, folder: the file name, with its folders if others have the same (``vol1_0001.jpg``)
* list: the name in the list, or the file name of the URL
* PDF, and pages without such a name: ``<manifest_ref>_0001.jpg``

Errors: ``FetchError``, ``ManifestError``, ``NotAnImage``.
"""
