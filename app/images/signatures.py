"""Recognise the content of a file by its first bytes."""

import re

# Pattern of the first bytes of the supported formats, by their names in Pillow.
_SUPPORTED = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WEBP": rb"RIFF....WEBP",
    "JPEG2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "PPM": rb"P([1-6]|[fF])\s",
    "AVIF": rb"....ftyp.{0,60}?avi[fs]",
}
_OTHERS = {
    "an HTML page": rb"\s*(<[?!].{0,500}?)??<(!doctype\s+)?html\b",
    "an SVG drawing": rb"\s*(<[?!].{0,500}?)??<(!doctype\s+)?svg\b",
    "an XML document": rb"\s*<\?xml",
    "a JSON document": rb"\s*[{[]",
    "a PDF document": rb"%PDF",
    "a DjVu document": rb"AT&TFORM",
    "a PostScript (EPS) file": rb"%!PS|\xc5\xd0\xd3\xc6",
    "a HEIC file": rb"....ftyp(hei|hev|mif1|msf1)",
    "a JPEG XL file": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "a JPEG XR file": rb"II\xbc",
    "a Photoshop (PSD) file": rb"8BPS",
    "a GIMP (XCF) file": rb"gimp xcf",
    "an OpenEXR file": rb"v/1\x01",
    "a FITS file": rb"SIMPLE  =",
    "a DICOM file": rb".{128}DICM",
    "a Targa (TGA) file": rb"\0(\0[\x02\x03\x0a\x0b]|\x01[\x01\x09])",
    "a PCX file": rb"\x0a[\0\x02\x03\x05]\x01",
    "an SGI file": rb"\x01\xda",
    "a DDS file": rb"DDS ",
    "a QOI file": rb"qoif",
    "a PAM file": rb"P7\s",
    "an XBM file": rb"\s*#define",
    "an icon (ICO or ICNS)": rb"\0\0\x01\0|icns",
    "a Windows metafile": rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF",
    "a zip archive": rb"PK(\x03\x04|\x05\x06)",
    "a gzip archive": rb"\x1f\x8b",
    "a RAR archive": rb"Rar!\x1a",
    "a 7z archive": rb"7z\xbc\xaf",
    "a video": rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI ",
    "sound": rb"ID3|OggS|fLaC|RIFF....WAVE",
    "an HTML or XML document": rb"\s*<",
}
_LONGEST = 1000
_FLAGS = re.DOTALL | re.IGNORECASE  # HTML tags in capital letters


def find_format(data: bytes) -> str:
    """Return the supported format of a file, by its name in Pillow; "" for all others."""
    return _find(_SUPPORTED, data)


def describe_content(data: bytes) -> str:
    """Return in words what a file contains, for an error message."""
    if found := find_format(data):
        return f"a file in the format {found}"
    return _find(_OTHERS, data.removeprefix(b"\xef\xbb\xbf")) or "data in an unsupported format"


def _find(patterns: dict[str, bytes], data: bytes) -> str:
    head = data[:_LONGEST]
    return next((name for name, start in patterns.items() if re.match(start, head, _FLAGS)), "")
