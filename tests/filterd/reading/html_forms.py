"""Ways to hide text in HTML, to seem to hide it, and to undo it. Which is which the browser says."""

# ruff: noqa: E501

from typing import Final

_STYLES: Final = """\
display:none
display : NONE !important; display:block
display:none;display:block
display:block;display:none-really
display:none;display:bogus
d\\69 splay:none
display:/* x */none
font-family:';display:none;'
background:url(data:image/gif;base64,;display:none;)
display:none;x:(
x:(;display:none;)
display:none}
visibility:hidden
visibility:collapse
opacity:0
opacity:0%
opacity:0.02
opacity:.5
filter:opacity(0)
font-size:0
font-size:0px
font-size:1px
font-size:2.9px
font-size:4px
font-size:0;font-size:14px
font-size:0.001em
font-size:1%
font-size:medium
font:0/0 a
font:14px/1 serif
font:inherit
line-height:0
line-height:0;overflow:hidden
zoom:0.01
color:#fff
color:white
color:WhiteSmoke
color:ghostwhite
color:honeydew
color:crimson
color:rebeccapurple
color:hsl(0,0%,100%)
color:hsl(120 100% 25%)
color:rgb(100%,100%,100%)
color:rgb(255 255 255 / 1)
color:rgba(0,0,0,0)
color:rgba(0,0,0,.9)
color:hwb(0 100% 0%)
color:lab(100% 0 0)
color:oklch(60% 0.2 20)
color:color-mix(in srgb, red, blue)
color:transparent
color:#ffffff00
color:#000f
color:canvastext
color:bogus
color:#fff;color:bogus
color:#fff;color:#000
color:#fff;background:#000
color:#fff;background:black url(x.png)
color:#fff;background-image:linear-gradient(#000,#000)
color:#000;background:#000
color:#123;background-color:#112233
color:#fff;text-shadow:0 0 2px #000
color:#fff;-webkit-text-stroke:1px black
-webkit-text-fill-color:#fff
color:#fff;-webkit-text-fill-color:#000
color:transparent;background:linear-gradient(red,red);-webkit-background-clip:text
color:#fff;filter:invert(1)
mix-blend-mode:difference;color:#fff
height:0;overflow:hidden
max-height:0;overflow:hidden
max-height:0
max-height:0;overflow:hidden;min-height:20px
height:0;overflow:hidden;padding-top:30px
height:0;overflow:hidden;padding-bottom:30px
height:0;overflow:hidden;display:inline
max-height:0;overflow:hidden;display:table-cell
max-height:0;overflow:hidden;display:inline-block
width:0;overflow:hidden
width:0;overflow:hidden;white-space:nowrap
width:0;height:0;overflow:hidden
max-width:0;overflow:hidden
max-width:0;overflow:visible
height:0;overflow:clip
height:0;overflow:auto
height:0;overflow:hidden visible
height:0;overflow-y:hidden
max-height:1em;overflow:hidden
max-height:calc(1em);overflow:hidden
height:0;max-height:100px;overflow:hidden
text-indent:-9999px
text-indent:-9999px;padding-left:9999px
text-indent:-50px
text-indent:-9999px;text-align:right
text-indent:-9999px;letter-spacing:900px
margin-left:-9999px
margin-left:-9999px;padding-left:9999px
margin-left:-9999px;text-align:right
margin-left:-9999px;width:10800px;text-align:right
margin-top:-500px
margin-left:-9999
position:absolute;left:-9999px
position:absolute;left:-9999px;padding-left:9999px
position:absolute;left:-9999px;width:10500px;text-align:right
position:absolute;top:-9999px
position:absolute;right:-9999px
position:relative;left:-9999px
position:fixed;left:-5000px
left:-9999px
position:static;left:-9999px
transform:scale(0)
transform:scale(0);display:inline
transform:scale(0, 0);display:inline-block
transform:scaleX(0);display:block
transform:scale(1)
transform:translateX(-5000px)
transform:translateX(-5000px);display:block
transform:translateX(-5000px);display:block;padding-left:5000px
transform:rotateY(90deg);display:block
scale:0;display:block
translate:-5000px;display:block
clip:rect(0,0,0,0)
clip:rect(0,0,0,0);position:absolute
clip:rect(0 0 0 0);position:fixed
clip:rect(0,900px,900px,0);position:absolute
clip-path:inset(50%)
clip-path:inset(100%)
clip-path:inset(0)
clip-path:circle(0)
clip-path:polygon(0 0, 0 0, 0 0)
clip-path:polygon(0 0, 100% 0, 100% 100%, 0 100%)
all:initial
display:none;all:initial
display:contents
display:flex
display:grid
float:left
float:right;width:0;overflow:hidden
content-visibility:hidden
content-visibility:hidden;display:block
animation:a 1s
unicode-bidi:bidi-override;direction:rtl
visibility:var(--x)
display:var(--none)
text-transform:uppercase
mask:linear-gradient(transparent,transparent)
backdrop-filter:blur(9px)
white-space:nowrap;width:1px
position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden
mso-hide:all
"""

# alpha stands where the trick is.
_DOCUMENTS: Final = [
    "<style>.a{display:none}</style><p class=a>alpha",
    "<style>.A{display:none}</style><p class=a>alpha",
    "<!doctype html><style>.A{display:none}</style><p class=a>alpha",
    "<style>div .h{display:none}</style><div><p class=h>alpha</p></div><p class=h>beta",
    "<style>div > .h{display:none}</style><div><p class=h>alpha</p><b><p class=h>beta</p></b></div>",
    "<style>@media all{.m{display:none}}</style><p class=m>alpha",
    "<style>@media screen{.m{display:none}}</style><p class=m>alpha",
    "<style>@media print{.m{display:none}}</style><p class=m>alpha",
    "<style>@media screen and (min-width:1px){.m{display:none}}</style><p class=m>alpha",
    "<style>@media (max-width:1px){.m{display:none}}</style><p class=m>alpha",
    "<style media=print>.m{display:none}</style><p class=m>alpha",
    "<style>.a{display:none}@media screen{.a{display:block}}</style><p class=a>alpha",
    "<style>.a{display:none}@media (min-width:1px){.a{display:block!important}}</style><p class=a>alpha",
    "<style>.a{display:none}div.w .a{display:block}</style><div class=w><p class=a>alpha</div>",
    "<style>.a{display:none}.a.b{display:block}</style><p class='a b'>alpha",
    "<style>.a.b{display:block}.a{display:none}</style><p class='b a'>alpha",
    "<style>#i{display:none}.a{display:block}</style><p class=a id=i>alpha",
    "<style>#i{display:none}.a{display:block!important}</style><p class=a id=i>alpha",
    "<style>.a{display:none!important}</style><p class=a style='display:block'>alpha",
    "<style>.a{display:none}</style><p class=a style='display:block'>alpha",
    "<style>[title=x]{display:none}</style><p title=x>alpha<p title=y>beta",
    "<style>p[style]{display:block!important}</style><p style='display:none'>alpha",
    "<style>p,q:bogus{display:none}</style><p>alpha",
    "<style>p:hover{display:none}</style><p>alpha",
    "<style>p:not(.x){display:none}</style><p class=x>alpha",
    "<style>.y+p{display:none}</style><p>alpha",
    "<style>p:first-child{display:none}p:first-child{display:block}</style><p>alpha",
    "<style>.a{display:none} *{display:block}</style><p class=a>alpha",
    "<style>p{display:none}<!-- --></style><p>alpha",
    "<style><!-- p{display:none} --></style><p>alpha",
    "<style>/* p{display:none} */</style><p>alpha",
    "<style>p{color:red}}.a{display:none}</style><p class=a>alpha",
    "<style>@import 'x.css';p{display:none}</style><p>alpha",
    "<style>@font-face{font-family:x;src:url(y)}p{display:none}</style><p>alpha",
    "<style>@keyframes k{from{opacity:1}to{opacity:1}}p{opacity:0;animation:k 9s}</style><p>alpha",
    "<style>@supports(display:grid){p{display:none}}</style><p>alpha",
    "<style>@layer x{p{display:none}}p{display:block}</style><p>alpha",
    "<style>div{.a{display:none}}</style><div><p class=a>alpha</p></div>",
    "<style>.a{display:none;.b &{display:block}}</style><div class=b><p class=a>alpha</p></div>",
    "<style>p{display:none",
    "<style>p{display:none</style><p>alpha",
    "<style>.a{content:'}';display:none}</style><p class=a>alpha",
    "<style>.a{content:'{'}.b{display:none}</style><p class=b>alpha",
    "<style>.\\61{display:none}</style><p class=a>alpha",
    "<style>p::first-line{color:#000}</style><p style='color:#fff'>alpha",
    "<style>html{display:none}</style><p>alpha",
    "<style>body{visibility:hidden}p{visibility:visible}</style><p>alpha<div>beta",
    "<style>td{color:#fff}.x td{background:#036}</style><table class=x><tr><td>alpha</table><table><tr><td>beta",
    "<style type=text/plain>p{display:none}</style><p>alpha",
    "<style>*{font-size:0}</style><p>alpha",
    "<style>p{display:none}</style><style>p{display:block}</style><p>alpha",
    "<span hidden>alpha</span>",
    "<p hidden style='display:block'>alpha</p>",
    "<style>p{display:block}</style><p hidden>alpha</p>",
    "<div style='font-size:0'><p style='font-size:14px'>alpha</p>beta</div>",
    "<div style='font-size:0'><p style='font-size:2em'>alpha</p></div>",
    "<div style='font-size:0'><p style='font-size:medium'>alpha</p></div>",
    "<div style='font-size:0'><font size=3>alpha</font></div>",
    "<div style='font-size:0'><table><tr><td>alpha</table></div>",
    "<!doctype html><div style='font-size:0'><table><tr><td>alpha</table></div>",
    "<div style='color:#fff'><table><tr><td>alpha</table></div>",
    "<!doctype html><div style='color:#fff'><table><tr><td>alpha</table></div>",
    "<div style='color:#fff'><p style='color:crimson'>alpha</p>beta</div>",
    "<div style='visibility:hidden'>beta<b style='visibility:visible'>alpha</b></div>",
    "<div style='opacity:0'><b style='opacity:1'>alpha</b></div>",
    "<div style='opacity:.2'><div style='opacity:.2'><b>alpha</b></div></div>",
    "<div style='max-height:0;overflow:hidden'>beta<b style='position:absolute'>alpha</b></div>",
    "<div style='max-height:0;overflow:hidden;position:relative'><b style='position:absolute'>alpha</b></div>",
    "<div style='margin-left:-5000px'><div style='padding-left:5000px'>alpha</div></div>",
    "<div style='padding-left:5000px'><div style='margin-left:-5000px'>alpha</div></div>",
    "<div style='margin-left:-500px;padding-left:500px'>alpha</div>",
    "<div style='text-indent:-5000px'>beta<br>alpha</div>",
    "<div style='text-indent:-5000px'><p style='text-indent:0'>alpha</p></div>",
    "<div style='text-align:right'><div style='margin-left:-5000px'>alpha</div></div>",
    "<table width=100%><tr><td width=50%>beta<td><div style='margin-left:-2000px'>alpha</div></table>",
    "<div style='position:absolute;left:1000px'><div style='position:absolute;left:-1000px'>alpha</div></div>",
    "<div style='display:flex'><div style='width:0;overflow:hidden;flex-grow:1'>alpha</div></div>",
    "<div style='display:flex;flex-direction:column;height:90px'><div style='height:0;overflow:hidden;flex-grow:1'>"
    "alpha</div></div>",
    "<div style='transform:scale(0)'><b style='transform:scale(9)'>alpha</b></div>",
    "<font color=white>alpha</font>",
    "<font color=fffffe>alpha</font>",
    "<font color='white'><font color=black>alpha</font></font>",
    "<font color=white><a href=x>alpha</a></font>",
    "<body link=white><a href=x>alpha</a>",
    "<body text=white>alpha<table><tr><td>beta</table>",
    "<body bgcolor=black text=white>alpha",
    "<body bgcolor=black>alpha<p style='color:#fff'>beta",
    "<p bgcolor=black style='color:#fff'>alpha",
    "<div style='background:#000;height:90px;margin-bottom:-90px'></div><p style='color:#fff'>alpha",
    "<div style='background:#000;height:90px'></div><p style='color:#fff;margin-top:-60px'>alpha",
    "<div style='height:0'><div style='background:#000;height:90px'></div></div><p style='color:#fff'>alpha",
    "<body bgcolor=black><div style='background:#fff;height:0'><p style='color:#fff'>alpha</p></div>",
    "<body bgcolor=black><div style='background:#fff;visibility:hidden'><p style='color:#fff;visibility:visible'>alpha",
    "<body bgcolor=black><span style='background:#fff'><div style='color:#fff'>alpha</div></span>",
    "<body bgcolor=black><div style='background:#fff;display:contents'><p style='color:#fff'>alpha",
    "<body bgcolor=black><div style='background:#fff;width:1px;white-space:nowrap;color:#fff'>beta alpha",
    "<div style='position:absolute;background:#000;width:300px;height:90px'></div><p style='color:#fff;position:relative'>alpha",
    "<table bgcolor=red><tr><td><font color='#f00'>alpha</table>",
    "<table><tr bgcolor=black><td><font color=white>alpha</table>",
    "<table><tr style='background:#000'><td style='color:#fff'>alpha</table>",
    "<table background=x.gif><tr><td><font color=white>alpha</table>",
    "<svg height=20><text y=15>alpha</text></svg>",
    "<svg width=0 height=0><text y=15>alpha</text></svg>",
    "<svg height=20><title>beta</title><desc>gamma</desc><text y=15 style='display:none'>alpha</text></svg>",
    "<svg height=30><foreignObject width=90 height=30><p>alpha</p></foreignObject></svg>",
    "<svg><style><p>alpha</p></style></svg>",
    "<math><mtext>alpha</mtext></math>",
    "<object data=x.bin>alpha</object>",
    "<object>alpha</object>",
    "<noscript>alpha</noscript>",
    "<canvas>alpha</canvas>",
    "<video>alpha</video>",
    "<iframe>alpha</iframe>",
    "<noembed>alpha</noembed><noframes>beta</noframes>",
    "<template>alpha</template>",
    "<datalist><option>alpha</datalist>",
    "<details><summary>alpha</summary>beta</details>",
    "<xmp>alpha <b>beta</xmp>",
    "<plaintext>alpha <b>beta",
    "<marquee>alpha</marquee>",
    "<button>alpha</button>",
    "<fieldset><legend>alpha</legend>beta</fieldset>",
    "<mark style='color:#fff'>alpha</mark>",
    "<p style='display:none'>beta<p>alpha",
    "<table style='display:none'><div>alpha</div></table>",
    "<p style='display:none'><table><tr><td>alpha</table>",
    "<a href=x style='color:#fff'>alpha</a>",
    "<small><small><small><small><small><small><small><small><small><small>alpha</small>",
    "<title>alpha</title>beta",
    "<head><p>alpha</head>",
    "<textarea style='display:none'>beta</textarea>alpha",
    "<bdo dir=rtl>alpha</bdo>",
    "<ruby>alpha<rt>beta</rt><rp>(</rp></ruby>",
    "<p style='display:block' style='display:none'>alpha",
    "<p style='color:#fff;background:inherit'>alpha",
    "<div style='background:#000'><p style='color:#fff;background:inherit'>alpha",
    "<div style='background:#000'><p style='color:#fff;background:transparent'>alpha",
    "<div style='background:#000'><p style='color:#fff;background:initial'>alpha",
    "<div style='color:#fff'><p style='color:initial'>alpha<p style='color:inherit'>beta<p style='color:unset'>gamma",
    "<div style='background:#eee'><p style='color:#fff'>alpha</div>",
    "<div style='background:rgba(0,0,0,.8)'><p style='color:#fff'>alpha</div>",
    "<!--" + "x" * 30_000 + "-->alpha",
    "<style>" + "x" * 70_000 + "{}</style>alpha<p style='display:none'>beta",
    "<style>.a{color:red}" + ".x{color:red}" * 6_000 + ".a{display:block!important}</style><p class=a style='display:none'>alpha",
    "<style>.a{display:none}" + ".x{color:red}" * 6_000 + ".a{display:block}</style><p class=a>alpha",
]  # fmt: skip


def forms() -> list[str]:
    """Every form as a document; `omega` is shown in each that has no style sheet for all."""
    styles = _STYLES.splitlines()
    made = [f'<p>omega</p><div style="{style}">alpha</div>' for style in styles]
    made += [f'<p>omega</p><span style="{style}">alpha</span>' for style in styles[::2]]
    made += [f"omega<style>.t{{{style}}}</style><p class=t>alpha</p>" for style in styles[::4]]
    made += [f'omega<table><tr><td style="{style}">alpha</table>' for style in styles[1::2]]
    return made + _DOCUMENTS
