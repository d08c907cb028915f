#include "tulle/report/page_style.h"

namespace tulle {

// Colours of the series are Okabe and Ito's, told apart by the colour-blind, darkened or lightened per theme.
std::string_view page_style() {
  return R"css(
:root{color-scheme:light dark;--page:#f6f6f3;--card:#fff;--ink:#1b1d21;--soft:#62666e;--line:#e2e2dc;--grid:#ebebe6;
--accent:#0b66b8;--hit:11 102 184;--miss:208 84 20;
--c0:#0b66b8;--c1:#d05414;--c2:#0c8a66;--c3:#a8468c;--c4:#9a7400;--c5:#2b93c9;--c6:#5b5f97;--c7:#6b6f76}
@media screen and (prefers-color-scheme:dark){:root{--page:#121417;--card:#1a1d21;--ink:#eceded;--soft:#9aa0a8;--line:#2c3036;
--grid:#272b30;--accent:#62b0f2;--hit:62 140 214;--miss:224 112 52;
--c0:#62b0f2;--c1:#f2884b;--c2:#3fc79a;--c3:#dd8cc6;--c4:#e0b83c;--c5:#8fd3f7;--c6:#a5a8e6;--c7:#aeb3ba}}
*{box-sizing:border-box;print-color-adjust:exact;-webkit-print-color-adjust:exact}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",
"Liberation Sans",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1160px;margin:0 auto;padding:40px 24px 32px}
header p,.quiet,footer{color:var(--soft)}
header p{margin:4px 0 0}
h1,h2,h3,p,dl,dd,figure,ul{margin:0;padding:0}
h1{font-size:34px;line-height:1.15;letter-spacing:-.02em;font-weight:680;overflow-wrap:anywhere}
h2{font-size:20px;letter-spacing:-.01em;font-weight:640;margin:40px 0 14px}
h3{font-size:15px;font-weight:620}
h3 small{font-weight:400;color:var(--soft);font-size:13px;margin-left:4px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(220px,1fr));gap:16px;margin-top:28px}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:10px}
.tile{padding:16px 20px 14px}
.tile dt{color:var(--soft);font-size:13px}
.tile dd{font-size:29px;line-height:1.25;font-weight:640;letter-spacing:-.02em}
.tile small{display:block;font-size:13px;line-height:1.4;font-weight:400;letter-spacing:0;color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px;align-items:start}
.card{padding:18px 20px;min-width:0;break-inside:avoid}
.card.tall{grid-row:span 2}
.one{grid-template-columns:minmax(0,1fr)}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:2px 16px;margin-bottom:10px}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;list-style:none;font-size:13px;color:var(--soft)}
.legend li{overflow-wrap:anywhere}
.legend i{display:inline-block;width:14px;height:3px;border-radius:2px;margin-right:6px;vertical-align:middle}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{fill:var(--soft);font-size:11.5px}
.end{text-anchor:end}.mid{text-anchor:middle}
.grid{stroke:var(--grid)}.axis,.tick{stroke:var(--soft);stroke-opacity:.6}
.line,.dot{fill:none;stroke-linejoin:round;stroke-linecap:round;vector-effect:non-scaling-stroke}
.line{stroke-width:2}.dot{stroke-width:6}.bar{fill:none}.dashed{stroke-dasharray:5 3}
.band{stroke:none;opacity:.2}
svg .key{stroke:none;font-weight:600}
.switch{cursor:pointer}.off{opacity:.25}g.off{display:none}
.rule{stroke:var(--soft);stroke-dasharray:2 2}
figure{position:relative}
.told{position:absolute;z-index:1;pointer-events:none;padding:6px 10px;border-radius:6px;font-size:12.5px;line-height:1.45;
background:var(--ink);color:var(--card);white-space:nowrap}
.s0{stroke:var(--c0)}.s1{stroke:var(--c1)}.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}
.s4{stroke:var(--c4)}.s5{stroke:var(--c5)}.s6{stroke:var(--c6)}.s7{stroke:var(--c7)}
.band.s0,svg .key.s0{fill:var(--c0)}.band.s1,svg .key.s1{fill:var(--c1)}.band.s2,svg .key.s2{fill:var(--c2)}
.band.s3,svg .key.s3{fill:var(--c3)}.band.s4,svg .key.s4{fill:var(--c4)}.band.s5,svg .key.s5{fill:var(--c5)}
.band.s6,svg .key.s6{fill:var(--c6)}.band.s7,svg .key.s7{fill:var(--c7)}
.b0{background:var(--c0)}.b1{background:var(--c1)}.b2{background:var(--c2)}.b3{background:var(--c3)}
.b4{background:var(--c4)}.b5{background:var(--c5)}.b6{background:var(--c6)}.b7{background:var(--c7)}
.three{grid-template-columns:repeat(3,minmax(0,1fr))}
.three svg text{font-size:15px}
.row{grid-column:1/-1;color:var(--soft);margin-top:6px}.row b{color:var(--ink);font-weight:620;margin-right:6px}
.phase text{font-size:12.5px}
.compare small{color:var(--soft)}.compare .dense{display:block}
.compare th i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:8px;vertical-align:-1px}
.compare tbody th{color:var(--ink);white-space:normal;overflow-wrap:anywhere;min-width:110px}.compare .mean td,.compare .mean th{font-weight:620}
.compare td,.compare th{vertical-align:top}
.origin td{white-space:normal;overflow-wrap:anywhere}.origin th{width:1%;padding-right:14px}
.origin td:last-child{text-align:left}
.picture img{width:100%;max-width:320px;image-rendering:pixelated;display:block;margin:0 auto}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(92px,1fr));gap:12px}
.sample{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:8px;font-size:12.5px}
.sample img{width:100%;image-rendering:pixelated;display:block;border-radius:4px;background:#000}
.sample figcaption{display:block;margin:6px 0 0;color:var(--soft);overflow-wrap:anywhere;line-height:1.35}
.sample b{color:var(--ink);font-weight:620}.sample small{display:block}
.wrong{border-color:var(--c1)}.wrong small{color:var(--c1)}
details{border-top:1px solid var(--line);padding:12px 0}
summary{cursor:pointer;font-size:17px;font-weight:620}summary small{font-weight:400;color:var(--soft);font-size:13px;margin-left:8px}
.ended header p::after{content:" The training has ended, or cannot be reached."}
.heat{shape-rendering:crispEdges;max-width:440px;max-height:480px;margin:0 auto}
.scale{display:grid;grid-template-columns:1fr 1fr 1fr;max-width:440px;margin:14px auto 0;font-size:13px;color:var(--soft)}
.scale div{grid-column:1/-1;height:10px;border-radius:2px;margin-bottom:3px}
.scale span:nth-of-type(2){text-align:center}.scale span:nth-of-type(3){text-align:right}
.facts{display:flex;flex-wrap:wrap;gap:8px 28px;max-width:440px;margin:14px auto 0}
.facts dt{font-size:13px;color:var(--soft)}.facts dd{font-weight:600}
table{border-collapse:collapse;width:100%;margin-top:10px}
th,td{padding:6px 0 6px 14px;text-align:right;font-weight:400;border-top:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}
tbody th{color:var(--soft)}
thead th,thead td{border-top:0;color:var(--soft);font-size:13px;padding-top:0}
.result td:nth-child(2){font-weight:640}
.result .factor{color:var(--accent)}
.quiet{font-size:13px;margin-top:10px;overflow-wrap:anywhere}
.meter{width:46%}.meter i{display:block;height:10px;border-radius:2px;background:var(--c0)}
.sum th,.sum td{font-weight:620;color:var(--ink)}
.pairs{table-layout:fixed}.pairs th,.pairs td{white-space:normal}
.pairs th:nth-child(-n+2){width:33%;text-align:left;overflow-wrap:anywhere}
.pairs tbody th{color:var(--ink)}
.wide{overflow-x:auto}
.confusion{width:auto;table-layout:fixed;font-size:13px}
.confusion td,.confusion th{padding:0;border:1px solid var(--card);height:34px;min-width:44px;text-align:center}
.confusion tbody th{text-align:right;padding-right:8px;border:0}
.confusion span{display:block;max-width:130px;overflow:hidden;text-overflow:ellipsis}
.confusion thead th span{max-width:44px;margin:0 auto}
.confusion.long thead th{vertical-align:bottom;padding-bottom:6px}
.confusion.long thead th span{writing-mode:vertical-rl;transform:rotate(180deg);max-width:none;max-height:110px}
.confusion .hit{background:rgb(var(--hit)/var(--v))}.confusion .miss{background:rgb(var(--miss)/var(--v))}
.confusion .on{color:#fff}
pre{margin:0;font:12.5px/1.55 ui-monospace,"SF Mono",Menlo,Consolas,"Liberation Mono",monospace;white-space:pre-wrap;
overflow-wrap:anywhere;columns:2;column-gap:40px}
footer{margin-top:36px;padding-top:14px;border-top:1px solid var(--line);font-size:13px;overflow-wrap:anywhere}
@media(max-width:760px){main{padding:24px 14px}
h1{font-size:27px}h2{margin-top:30px}.tiles{grid-template-columns:1fr 1fr;gap:10px;margin-top:20px}
.tile{padding:12px 14px}.tile dd{font-size:21px}.cards,.three{grid-template-columns:minmax(0,1fr);gap:10px}.card{padding:14px}
svg text{font-size:15px}.card.tall{grid-row:auto}.meter{width:26%}pre{columns:1}
table{font-size:13px}th,td{padding-left:8px}.result tbody th,.result .factor{white-space:normal}
.confusion{font-size:11px}.confusion td,.confusion th{min-width:25px;height:25px}.confusion tbody th{padding-right:5px}
.confusion thead th span{max-width:25px}.confusion tbody span{max-width:62px}}
@media print{:root{color-scheme:light}body{background:#fff;font-size:12px}main{max-width:none;padding:0}
h2{break-after:avoid}.card,.tile{border-color:#ccc}}
)css";
}

}  // namespace tulle
