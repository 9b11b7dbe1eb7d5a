; One flat panel of 512 x 1024 pixels of 75 um, the beam in its middle: for examples/features.yaml
photon_energy = 9500
adu_per_photon = 1
clen = 0.1
res = 13333.33
p0/min_fs = 0
p0/max_fs = 1023
p0/min_ss = 0
p0/max_ss = 511
p0/fs = +1.0x +0.0y
p0/ss = +0.0x +1.0y
p0/corner_x = -512.0
p0/corner_y = -256.0
p0/coffset = 0
