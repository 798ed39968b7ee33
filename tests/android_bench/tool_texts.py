"""What TensorFlow's benchmark_model prints, by vintage.

No such tool is on the machine that these tests were written on. Each text was written by hand after
the printing code of that version and after outputs that users have published; the words are the tool's.
"""

# Until 1.14: one line of averages, on standard error.
R1_13 = """\
STARTING!
Min num runs: [50]
Num threads: [1]
Graph: [mobilenet.tflite]
Loaded model mobilenet.tflite
resolved reporter
Initialized session in 0.896ms
Running benchmark for at least 1 iterations and at least 0.5 seconds
count=215 first=12231 curr=2106 min=2065 max=12231 avg=2331.42 std=746

Running benchmark for at least 100 iterations and at least 1 seconds
count=459 first=2143 curr=2101 min=2056 max=2656 avg=2177.1 std=124

Average inference timings in us: Warmup: 2331.42, Init: 896, no stats: 2177.1
"""
# 1.15 to 2.2: the same line with "Inference" for "no stats".
R1_15 = """\
STARTING!
Min num runs: [50]
Num threads: [1]
Graph: [kws.tflite]
Use xnnpack : [0]
Loaded model kws.tflite
resolved reporter
Initialized session in 1.203ms
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=61 first=9120 curr=8111 min=8042 max=9120 avg=8201.7 std=133

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=400 first=2511 curr=2470 min=2461 max=2933 avg=2480.31 std=27

Average inference timings in us: Warmup: 8201.7, Init: 1203, Inference: 2480.31
"""
# From 2.3 on: the first inference; large averages in exponent form; "Peak" for what grew.
R2_4 = """\
STARTING!
Loaded model /data/local/tmp/model.tflite
The input model file size (MB): 16.9008
Initialized session in 17.187ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=1 curr=3512391

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE.
Peak memory footprint (MB): init=4.92969 overall=138.809
"""
# A line starts with its severity; percentiles came with 2.18.
R2_18 = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Graph: [model.tflite]
INFO: Use xnnpack: [1]
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 24.6229
INFO: Initialized session in 119.515ms.
INFO: Running benchmark for at least 5 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=9 first=87112 curr=51629 min=51629 max=87112 avg=58147.4 std=11478 p5=51629 median=51962 p95=87112

INFO: Running benchmark for at least 1000 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=1000 first=52162 curr=49785 min=49088 max=686105 avg=63743.2 std=60716 p5=49620 median=51891 p95=68628

INFO: Inference timings in us: Init: 119515, First inference: 87112, Warmup (avg): 58147.4, Inference (avg): 63743.2
INFO: Memory footprint delta from the start of the tool (MB): init=55.4961 overall=56.5
INFO: Overall peak memory footprint (MB) via periodic monitoring: 61.25
"""
ALL_SAME = R2_18.replace(
    "count=1000 first=52162 curr=49785 min=49088 max=686105 avg=63743.2 std=60716", "count=7 curr=12(all same)"
).replace("p5=49620 median=51891 p95=68628", "p5=12 median=12 p95=12")
NO_WARMUP = R2_18.replace(
    "count=9 first=87112 curr=51629 min=51629 max=87112 avg=58147.4 std=11478 p5=51629 median=51962 p95=87112",
    "count=0",
)
NO_WARMUP_PERCENTILES = NO_WARMUP.replace("count=0", "count=0 p5=0 median=0 p95=0")
# With --report_peak_memory_footprint, which adds the process's state on Linux.
R2_21 = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Graph: [detect.tflite]
INFO: Signature to run: []
INFO: Loaded model detect.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 4.5
INFO: Initialized session in 52.687ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=35 first=19105 curr=13909 min=13585 max=19105 avg=14452.5 std=1240 p5=13601 median=14020 p95=17700

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=70 first=14941 curr=14066 min=13728 max=16145 avg=14290.9 std=452 p5=13790 median=14110 p95=15230

INFO: Inference timings in us: Init: 52687, First inference: 19105, Warmup (avg): 14452.5, Inference (avg): 14290.9
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE.
INFO: Memory footprint delta from the start of the tool (MB): init=21.9 overall=34.5
INFO: Overall peak memory footprint (MB) via periodic monitoring: 36.25
INFO: Memory status at the end of exeution:
INFO: - VmRSS              : 35 MB
INFO: + RssAnnon           : 20 MB
INFO: + RssFile + RssShmem : 15 MB
"""
# The app logs the same lines behind a tag.
LOGCAT = """\
I tflite  : Initialized session in 4.31ms.
I tflite  : Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
I tflite  : count=31 first=9120 curr=8099 min=8033 max=9120 avg=8190.2 std=210
I tflite  : Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
I tflite  : count=60 first=8140 curr=8099 min=8040 max=8420 avg=8120.5 std=61 p5=8051 median=8101 p95=8290
I tflite  : Inference timings in us: Init: 4310, First inference: 9120, Warmup (avg): 8190.2, Inference (avg): 8120.5
I tflite  : Memory footprint delta from the start of the tool (MB): init=5.25 overall=7.5
"""
# LiteRT 2's own tool over CompiledModel: the same lines with count=, then a summary in milliseconds.
LITERT_2 = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [50]
INFO: [benchmark_litert_model.cc:118] Loading model from: kws.tflite
INFO: The input model file size (MB): 0.08048
INFO: Initialized session in 4.52ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=260 first=1873 curr=1911 min=1871 max=2204 avg=1921.7 std=44 p5=1875 median=1903 p95=2010

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=500 first=1899 curr=1880 min=1866 max=2950 avg=1902.4 std=71 p5=1870 median=1880 p95=1990

INFO: [benchmark_litert_model.h:81]
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:82] Model initialization: 4.52 ms
INFO: [benchmark_litert_model.h:83] Warmup (first):       1.87 ms
INFO: [benchmark_litert_model.h:85] Warmup (avg):         1.92 ms (260 runs)
INFO: [benchmark_litert_model.h:87] Inference (avg):      1.90 ms (500 runs)
INFO: [benchmark_litert_model.h:91] Inference (min):      1.87 ms
INFO: [benchmark_litert_model.h:93] Inference (max):      2.95 ms
INFO: [benchmark_litert_model.h:95] Inference (std):      0.07
INFO: [benchmark_litert_model.h:103] Throughput:           2.06 MB/s
INFO: [benchmark_litert_model.h:113]
Memory Usage:
INFO: [benchmark_litert_model.h:114] Init footprint:       3.25 MB
INFO: [benchmark_litert_model.h:116] Overall footprint:    4.50 MB
INFO: [benchmark_litert_model.h:121] Peak memory:          12.75 MB
INFO: [benchmark_litert_model.h:127] ======================================
"""
